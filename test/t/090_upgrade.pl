# A database that was upgraded is the same as one where the current version was
# installed afresh.
#
# run-check puts the install scripts of the released versions into
# test/upgrade.  A fixture, today's script under another version with nothing
# to upgrade, stands in as long as there is no release; a second one, which has
# a table and a comment of its own, shows that the comparison sees such things.

use strict;
use warnings;

use File::Basename qw(basename);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = $ENV{QPSSCALE_EXTENSION_DIR};
plan skip_all => 'needs a writable QPSSCALE_EXTENSION_DIR'
  unless defined $directory && -w $directory;

my @written;

END { unlink @written; }

my ($current) = slurp_file("$directory/qpsscale.control") =~
  /^default_version\s*=\s*'([^']+)'/m;
my $script = slurp_file("$directory/qpsscale--$current.sql");

sub add_file
{
	my ($name, $contents) = @_;

	append_to_file("$directory/$name", $contents);
	push @written, "$directory/$name";
	return;
}

sub add_fixture
{
	my ($version, $addition) = @_;

	add_file("qpsscale--$version.sql", $script . $addition);
	add_file("qpsscale--$version--$current.sql",
		"-- nothing changed between the two\n");
	return;
}

add_fixture('0.0.1-fixture', '');
add_fixture('0.0.2-fixture', <<'SQL');
create table qpsscale.left_over (id integer);
comment on schema qpsscale is 'said by the fixture';
SQL

my @released;
foreach my $file (glob 'test/upgrade/qpsscale--*.sql')
{
	my ($version) = basename($file) =~ /^qpsscale--(.+)\.sql$/;

	next if $version eq $current;
	add_file("qpsscale--$version.sql", slurp_file($file));
	push @released, $version;
}

my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init;
$node->start;

# Everything that the extension owns, a line for each fact, without OIDs and
# without the positions of columns, which an upgrade cannot choose.
my $catalog_query = <<'SQL';
with member as (
	select classid, objid, identity, type
	from pg_depend d,
		pg_identify_object(d.classid, d.objid, 0) as i
	where d.refclassid = 'pg_extension'::regclass
		and d.refobjid = (select oid from pg_extension
						  where extname = 'qpsscale')
		and d.deptype = 'e'
), relation as (
	select m.identity, c.*
	from member m join pg_class c
		on m.classid = 'pg_class'::regclass and c.oid = m.objid
), fact (about, what, value) as (
	select identity, type, coalesce(obj_description(objid, classid::regclass::text), '-')
	from member
	union all
	select identity, 'function', pg_get_functiondef(p.oid)
	from member m join pg_proc p on p.oid = m.objid
	where m.classid = 'pg_proc'::regclass and p.prokind in ('f', 'p')
	union all
	select identity, 'function acl', coalesce(proacl::text, '-')
	from member m join pg_proc p on p.oid = m.objid
	where m.classid = 'pg_proc'::regclass
	union all
	select identity, 'schema acl', coalesce(nspacl::text, '-')
	from member m join pg_namespace n on n.oid = m.objid
	where m.classid = 'pg_namespace'::regclass
	union all
	select identity, 'wrapper', concat_ws(' ', fdwhandler::regproc,
		fdwvalidator::regproc, fdwoptions, fdwacl)
	from member m join pg_foreign_data_wrapper w on w.oid = m.objid
	where m.classid = 'pg_foreign_data_wrapper'::regclass
	union all
	select identity, 'relation', concat_ws(' ', relkind, relpersistence,
		relrowsecurity, relreplident, reloptions)
	from relation
	union all
	select identity, 'relation acl', coalesce(relacl::text, '-')
	from relation
	union all
	select identity, 'view', pg_get_viewdef(oid)
	from relation where relkind in ('v', 'm')
	union all
	select identity, 'sequence', concat_ws(' ', seqtypid::regtype, seqstart,
		seqincrement, seqmin, seqmax, seqcache, seqcycle)
	from relation join pg_sequence on seqrelid = oid
	union all
	select identity, 'column', concat_ws(' ', attname,
		format_type(atttypid, atttypmod), attnotnull, attidentity,
		attgenerated, attstorage, attacl,
		pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
	from relation
		join pg_attribute on attrelid = oid and attnum > 0 and not attisdropped
		left join pg_attrdef on adrelid = attrelid and adnum = attnum
	union all
	select identity, 'index', pg_get_indexdef(indexrelid)
	from relation join pg_index on indrelid = oid
	union all
	select identity, 'constraint', concat_ws(' ', conname, convalidated,
		pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
	from relation r join pg_constraint k on conrelid = r.oid
	union all
	select identity, 'trigger', concat_ws(' ', tgenabled, pg_get_triggerdef(t.oid))
	from relation r join pg_trigger t on tgrelid = r.oid
	where not tgisinternal
	union all
	select configured::regclass::text, 'dumped where', filter
	from pg_extension, unnest(extconfig, extcondition) as u (configured, filter)
	where extname = 'qpsscale'
	union all
	select 'qpsscale', 'version', extversion
	from pg_extension where extname = 'qpsscale'
)
select about || ' | ' || what || ' | '
	|| regexp_replace(value, '\s+', ' ', 'g')
from fact order by 1
SQL

sub catalog_of
{
	my ($database, @statements) = @_;

	$node->safe_psql('postgres', "create database $database");
	$node->safe_psql($database, $_) foreach @statements;
	return split /\n/, $node->safe_psql($database, $catalog_query);
}

sub catalog_after_upgrade_from
{
	my ($version) = @_;
	my $database = "from_$version";

	$database =~ s/\W/_/g;
	return catalog_of(
		$database,
		"create extension qpsscale version '$version'",
		'alter extension qpsscale update');
}

# The lines that only one of the two has.
sub differences
{
	my ($one, $other) = @_;
	my %in_one = map { $_ => 1 } @$one;
	my %in_other = map { $_ => 1 } @$other;

	return ((map { "only afresh: $_" } grep { !$in_other{$_} } @$one),
		(map { "only upgraded: $_" } grep { !$in_one{$_} } @$other));
}

my @fresh = catalog_of('fresh', 'create extension qpsscale');

cmp_ok(scalar(@fresh), '>', 10, 'the catalog of a fresh install has content');

foreach my $version ('0.0.1-fixture', @released)
{
	my @found = catalog_after_upgrade_from($version);

	is(join("\n", differences(\@fresh, \@found)),
		'', "upgraded from $version is like installed afresh");
}

my $found = join "\n",
  differences(\@fresh, [ catalog_after_upgrade_from('0.0.2-fixture') ]);

like(
	$found,
	qr/^only upgraded: qpsscale\.left_over \| table /m,
	'a table that an upgrade leaves over is noticed');
like(
	$found,
	qr/^only upgraded: qpsscale \| schema \| said by the fixture/m,
	'a comment that an upgrade leaves over is noticed');

$node->stop;
done_testing();
