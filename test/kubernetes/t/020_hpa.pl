# What the unit test test_utilization expects is what the horizontal pod
# autoscaler's own code says of the same cases.  With QPS_RECORD=FILE in the
# environment that is written anew.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $test = dirname(abs_path(__FILE__)) . '/../..';
my $dir = PostgreSQL::Test::Utils::tempdir();

sub lines_of
{
	my ($file) = @_;

	open(my $in, '<', $file) or die "$file: $!\n";
	chomp(my @lines = <$in>);
	return @lines;
}

is(system($ENV{CC} // 'cc', '-std=gnu11', "-I$test/../src", "-I$test/unit",
		'-o', "$dir/print_cases", "$test/kubernetes/hpa/print_cases.c",
		"$test/unit/hpa_cases.c"), 0, 'the cases compile');
is(system("$dir/print_cases >$dir/cases"
		  . " && $ENV{QPSSCALE_KUBERNETES}/qpsscale-hpa <$dir/cases >$dir/said"),
	0, 'all were answered');

my @cases = lines_of("$dir/cases");
my @said = lines_of("$dir/said");
if (my $file = $ENV{QPS_RECORD})
{
	my $number = 0;

	open(my $out, '>', $file) or die "$file: $!\n";
	print $out "/* Made by test/kubernetes/t/020_hpa.pl: see hpa_cases.h.  -1"
	  . " is an error. */\n";
	print $out $_, ',', ++$number % 16 ? '' : "\n" foreach @said;
	print $out "\n" if $number % 16;
	close($out) or die "$file: $!\n";
}

my @expected = map { /^[-0-9]/ ? split /,/ : () }
  lines_of($ENV{QPS_RECORD} // "$test/unit/hpa_results.h");
is(scalar(@said), scalar(@cases), 'one answer for each case');
is(scalar(@expected), scalar(@cases), 'and one that is expected');
my @wrong = grep { $said[$_] != $expected[$_] } 0 .. $#cases;
is(scalar(@wrong), 0, 'the horizontal pod autoscaler says what we expect');
diag("case $_: it says $said[$_], expected $expected[$_]: $cases[$_]")
  foreach @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ];

done_testing();
