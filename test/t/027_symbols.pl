# The server looks a name up in its own program first, whatever library a
# module was linked with.  PostgreSQL has a json_object() of its own: a worker
# that calls jansson's ends the server.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

# Names as nm shows them; those of libraries have a version behind an @.
sub names
{
	my ($file, $which) = @_;
	my ($out, $err) = run_command([ 'nm', '-D', $which, $file ]);

	is($err, '', "nm reads $file");
	return map { (split)[-1] } split(/\n/, $out);
}

my $worker = dirname(abs_path(__FILE__)) . '/../../qpsscale_worker.so';
my ($bindir) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--bindir' ]);
my %servers = map { $_ => 1 } grep { !/@/ } names("$bindir/postgres", '--defined-only');
my @taken = grep { /@/ && !/@+GLIBC/ } names($worker, '--undefined-only');

cmp_ok(scalar(grep { /^(curl|json|xml)/ } @taken),
	'>', 10, 'the worker takes names from its libraries');
is_deeply([ grep { $servers{ (split /@/)[0] } } @taken ],
	[], 'none of which the server has, too');

done_testing();
