# run_tap.pl: runs TAP test files as prove does, some at a time, each with a
# limit of its own, and prints "counted PASSED FAILED SKIPPED" for run-check.
# prove itself tells how many tests it ran, but not how many of them failed.
#
#	perl run_tap.pl JOBS SECONDS FILE...

use strict;
use warnings;

use TAP::Harness;

my ($jobs, $seconds, @files) = @ARGV;

my $harness = TAP::Harness->new(
	{
		jobs => $jobs,
		timer => 1,
		failures => 1,
		exec => [ 'timeout', '-k', '10', $seconds, $^X ],
	});
my $results = $harness->runtests(@files);

# A file that died, or kept to no plan, is one more failure, even where each
# test that it did reach passed.
my $failed = $results->failed;
foreach my $file ($results->descriptions)
{
	my ($parser) = $results->parsers($file);

	next if $parser->is_good_plan && !$parser->exit && !$parser->wait
	  && !$parser->parse_errors && !$parser->failed;
	print "not passed: $file\n";
	$failed++ unless $parser->failed;
}
printf "counted %d %d %d\n", scalar($results->passed) - $results->skipped,
  $failed, scalar($results->skipped);
exit($failed ? 1 : 0);
