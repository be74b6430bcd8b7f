# QpsscaleOracle.pm
#
# Compares what the cloud did with what the tables say, after the dust has
# settled: for tests that end processes and lose replies.
#
#   is(discrepancies($node, $cloud, $id, 'web'), '', 'nothing lost or doubled');
#
# The cloud's own history is the truth: each change it has applied, with the
# time.  What must hold of a group that nobody else has touched:
#
#   - each activity has come to exactly one end, and says when;
#   - the changes applied are those of the activities that say so, in their
#     order: successful, superseded, and failed for not being in service in
#     time; an activity that failed otherwise was not applied;
#   - each was applied after its intent was made and before the next one was,
#     so that never two were under way;
#   - each changed something: none was applied twice;
#   - each kept to the limits of the cloud and of the policy;
#   - between two lay the group's general cooldown, and the last is remembered.

package QpsscaleOracle;

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP;

our @EXPORT = qw(discrepancies applied_changes open_activities);

# The changes that calls of the API have made, oldest first.
sub applied_changes
{
	my ($cloud, $name) = @_;

	return grep { $_->{source} eq 'api' }
	  @{ $cloud->group("asg-$name")->{history} };
}

sub open_activities
{
	return "SELECT count(*) FROM qpsscale.activities"
	  . " WHERE status IN ('requested', 'unknown', 'accepted')";
}

sub _activities
{
	my ($node, $id) = @_;

	return @{
		decode_json(
			$node->safe_psql('postgres', <<SQL)) };
SELECT coalesce(jsonb_agg(jsonb_build_object(
	'id', id, 'status', status, 'desired', desired_capacity,
	'message', error_message, 'finished', finished_at IS NOT NULL,
	'at', extract(epoch FROM requested_at)) ORDER BY id), '[]')
FROM qpsscale.activities
WHERE resource_group_id = $id AND status <> 'dry_run'
SQL
}

sub _policy
{
	my ($node, $id) = @_;

	return decode_json($node->safe_psql('postgres', <<SQL));
SELECT jsonb_build_object('min', g.min_instances, 'max', g.max_instances,
	'cooldown', g.general_cooldown_seconds,
	'last', extract(epoch FROM s.last_action_at))
FROM qpsscale.resource_groups g
	JOIN qpsscale.state s ON s.resource_group_id = g.id
WHERE g.id = $id
SQL
}

# Does the activity say that the cloud has taken it?
sub _says_applied
{
	my ($activity) = @_;

	return $activity->{status} ne 'failed'
	  || ($activity->{message} // '') =~ /^not in service within/;
}

sub _check_ends
{
	my ($activities, $complain) = @_;

	foreach my $a (@$activities)
	{
		$complain->("activity $a->{id} is $a->{status}")
		  if $a->{status} !~ /^(successful|failed|superseded)$/;
		$complain->("activity $a->{id} does not say when it ended")
		  if !$a->{finished};
	}
	return;
}

sub _check_pairs
{
	my ($activities, $changes, $complain) = @_;
	my @claimed = grep { _says_applied($_) } @$activities;
	my $claims = join(' ', map { $_->{desired} } @claimed);
	my $facts = join(' ', map { $_->{to} } @$changes);

	if ($claims ne $facts)
	{
		$complain->("the activities say [$claims], the cloud did [$facts]");
		return;
	}
	for my $i (0 .. $#claimed)
	{
		my ($next) = grep { $_->{id} > $claimed[$i]{id} } @$activities;

		$complain->("activity $claimed[$i]{id} was applied before its intent")
		  if $changes->[$i]{time} < $claimed[$i]{at};
		$complain->("activity $claimed[$i]{id} was applied after the intent"
			  . " of $next->{id}")
		  if $next && $changes->[$i]{time} > $next->{at};
	}
	return;
}

sub _check_changes
{
	my ($policy, $changes, $complain) = @_;
	my $before;

	foreach my $c (@$changes)
	{
		$complain->("$c->{to} was applied twice") if $c->{from} == $c->{to};
		$complain->("$c->{to} is outside the cloud's limits")
		  if $c->{to} < $c->{min} || $c->{to} > $c->{max};
		$complain->("$c->{to} is outside the policy's limits")
		  if (defined $policy->{min} && $c->{to} < $policy->{min})
		  || (defined $policy->{max} && $c->{to} > $policy->{max});
		my $rest = defined $before ? $c->{time} - $before : undef;
		$complain->("$c->{to} came $rest s after the change before, with a"
			  . " cooldown of $policy->{cooldown} s")
		  if defined $rest && $rest < $policy->{cooldown};
		$before = $c->{time};
	}
	$complain->('the last change is not remembered: '
		  . ($policy->{last} // 'never') . " for $before")
	  if defined $before && ($policy->{last} // 0) < $before;
	return;
}

# What is wrong with a group, a line each; '' for nothing.
sub discrepancies
{
	my ($node, $cloud, $id, $name) = @_;
	my @activities = _activities($node, $id);
	my @changes = applied_changes($cloud, $name);
	my @found;
	my $complain = sub { push @found, "$name: $_[0]"; };

	_check_ends(\@activities, $complain);
	_check_pairs(\@activities, \@changes, $complain);
	_check_changes(_policy($node, $id), \@changes, $complain);
	return join("\n", @found);
}

1;
