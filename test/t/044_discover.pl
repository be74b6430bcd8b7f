# qpsscale_discover(): the scaling groups of an account with their load
# balancers, ready to be inserted.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.interval' => "'1h'" });

add_account($node, $cloud, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub failure
{
	my ($sql) = @_;
	my ($code, $stdout, $stderr) =
	  $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");

	return $stderr;
}

sub groups
{
	my ($account) = @_;

	return sql("SELECT asg_id, alb_id FROM qpsscale_discover('$account')"
		  . " WHERE asg_id ~ '^d'");
}

sub calls { return map { $_->{action} } @{ $cloud->log(0) }; }

my @names = map { sprintf 'd%03d', $_ } 1 .. 130;

subtest 'AWS: a group is led to by its target group' => sub {
	$cloud->put_groups([ map { { id => $_, alb_id => aws_alb($_), min => 1,
				max => 9, desired => 2 } } @names ]);
	$cloud->reset_log;
	is(groups('aws'), join("\n", map { "$_|" . aws_alb($_) } @names),
		'all groups of all pages, with their load balancers');
	is_deeply([ sort(calls()) ], [ qw(DescribeAutoScalingGroups
		DescribeAutoScalingGroups DescribeTargetGroups) ], 'by three calls');
	is(sql("SELECT provider, account, region, name, min_instances,"
			  . ' max_instances, desired, group_id IS NULL, note IS NULL'
			  . " FROM qpsscale_discover('aws') WHERE asg_id = 'd001'"),
		'aws|aws|ap-southeast-1|d001|1|9|2|t|t', 'and what they are');
	$cloud->set_options(aws_page => 30);
	is(sql("SELECT count(*) FROM qpsscale_discover('aws')"
			  . " WHERE alb_id = 'app/' || asg_id || substr(alb_id, 9)"), '130',
		'whatever the size of the pages');
	$cloud->set_options(aws_page => 0);
};

subtest 'a statement makes a group of what was found' => sub {
	sql(sql("SELECT insert_statement FROM qpsscale_discover('aws',"
			  . " target_qps => 75) WHERE asg_id = 'd007'"));
	is(sql('SELECT provider, account, alb_id, target_qps, enabled, dry_run'
			  . " FROM qpsscale.resource_groups WHERE asg_id = 'd007'"),
		'aws|aws|' . aws_alb('d007') . '|75|f|t', 'disabled and in dry run');
	is(sql('SELECT d.group_id = g.id, insert_statement IS NULL'
			  . " FROM qpsscale_discover('aws') d"
			  . ' JOIN qpsscale.resource_groups g USING (asg_id)'), 't|t',
		'and from then on it is known to be one');
	$cloud->put_groups([ { id => "d-o'hare; x", alb_id => aws_alb('hare') } ]);
	sql(sql("SELECT insert_statement FROM qpsscale_discover('aws')"
			  . " WHERE asg_id ~ 'hare'"));
	is(sql("SELECT asg_id FROM qpsscale.resource_groups WHERE asg_id ~ 'hare'"),
		"d-o'hare; x", 'a name with a quote is quoted');
	$cloud->delete_group("d-o'hare; x");
};

subtest 'a group without a load balancer is listed all the same' => sub {
	$cloud->put_groups([ { id => 'bare', desired => 3 } ]);
	foreach my $case ([ aws => 'no target group is attached' ],
		[ cloud => 'no load balancer is attached' ])
	{
		is(sql("SELECT alb_id IS NULL, insert_statement IS NULL, desired, note"
				  . " FROM qpsscale_discover('$case->[0]')"
				  . " WHERE asg_id = 'bare'"), "t|t|3|$case->[1]",
			"$case->[0]: with the reason");
	}
};

subtest 'BytePlus: pages of fifty, with their load balancers' => sub {
	$cloud->put_groups([ map { { id => $_, alb_id => "alb-$_" } } @names ]);
	$cloud->reset_log;
	is(sql("SELECT count(*), count(DISTINCT asg_id),"
			  . ' count(*) FILTER (WHERE alb_id IS NULL)'
			  . " FROM qpsscale_discover('cloud')"), '131|131|1',
		'each group once');
	is(scalar(grep { $_ eq 'DescribeScalingGroups' } calls()), 3,
		'by three calls');
	is(sql("SELECT alb_id FROM qpsscale_discover('cloud')"
			  . " WHERE asg_id = 'd001'"), 'alb-d001', 'the load balancer');
};

subtest 'what is not whole is an error, never a shorter list' => sub {
	$cloud->fault({ kind => 'status', times => -1,
			match => { action => 'DescribeAutoScalingGroups' },
			params => { status => 403, code => 'AccessDenied',
				message => 'User: arn:aws:iam::1:user/x is not authorized to'
				  . ' perform: autoscaling:DescribeAutoScalingGroups' } });
	like(failure("SELECT * FROM qpsscale_discover('aws')"),
		qr/55000: .*could not be listed: AccessDenied: not authorized to perform: autoscaling:DescribeAutoScalingGroups.*HINT:  Give the account the permission/s,
		'a permission that is missing is named');
	$cloud->clear_faults;
	$cloud->fault({ kind => 'status', times => -1,
			match => { action => 'DescribeTargetGroups' },
			params => { status => 403, code => 'AccessDenied',
				message => 'User: arn:aws:iam::1:user/x is not authorized to'
				  . ' perform: elasticloadbalancing:DescribeTargetGroups' } });
	like(sql("SELECT alb_id IS NULL, note FROM qpsscale_discover('aws')"
			  . " WHERE asg_id = 'd001'"),
		qr/^t\|its load balancer could not be read: AccessDenied: .*elasticloadbalancing:DescribeTargetGroups/,
		'without that of load balancers the groups are still told');
	$cloud->clear_faults;
	$cloud->fault({ kind => 'status', match => { action => 'DescribeScalingGroups' },
			params => { status => 429, code => 'FlowLimitExceeded' } });
	is(sql("SELECT count(*) FROM qpsscale_discover('cloud')"), '131',
		'throttling is waited out');
};

subtest 'credentials that are refused are read again' => sub {
	$cloud->fault({ kind => 'status', match => { action => 'DescribeTargetGroups' },
			params => { status => 403, code => 'ExpiredToken' } });
	like(sql("SELECT note FROM qpsscale_discover('aws')"
			  . " WHERE asg_id = 'd001'"), qr/ExpiredToken/,
		'where there are no others, that is said');
};

subtest 'only accounts that the caller may use' => sub {
	sql("CREATE ROLE stranger; SELECT qpsscale_grant('stranger', 'operator');"
		  . " CREATE ROLE guest;"
		  . " CREATE USER MAPPING FOR PUBLIC SERVER aws OPTIONS"
		  . " (access_key_id 'env:TEST_ACCESS_KEY',"
		  . " secret_access_key 'env:TEST_SECRET_KEY')");
	$cloud->reset_log;
	like(failure("SET ROLE stranger; SELECT * FROM qpsscale_discover('aws')"),
		qr/42501: .*role "stranger" may not use account "aws"/,
		'without USAGE on the server: no');
	like(failure("SET ROLE stranger; SELECT * FROM qpsscale_discover()"),
		qr/42501: .*only groups of a superuser may use the server's own/,
		'the server\'s own credentials: no');
	like(failure("SET ROLE guest; SELECT * FROM qpsscale_discover('aws')"),
		qr/42501: .*permission denied for function qpsscale_discover/,
		'without a level: no');
	like(failure("SET ROLE stranger; SELECT * FROM qpsscale.accounts(NULL, 'postgres', 'aws', 'aws')"),
		qr/42501: .*permission denied for function accounts/,
		'nor what the worker looks up');
	is(scalar(calls()), 0, 'the cloud heard nothing of it');
	sql('GRANT USAGE ON FOREIGN SERVER aws TO stranger');
	is(sql("SET ROLE stranger; SELECT count(*) FROM qpsscale_discover('aws')"),
		'131', 'with it: yes');
};

subtest 'what is asked for must exist' => sub {
	like(failure("SELECT * FROM qpsscale_discover('nowhere')"),
		qr/42704: .*account "nowhere" does not exist.*commit first/s, 'an account');
	like(failure("SELECT * FROM qpsscale_discover('aws', provider => 'ibm')"),
		qr/22023: .*provider "ibm" is not known/, 'a provider');
	like(failure("SELECT * FROM qpsscale_discover('aws', provider => 'byteplus')"),
		qr/55000: .*account "aws" is of provider aws/, 'that of the account');
	like(failure("SELECT * FROM qpsscale_discover('aws', 'eu?/x')"),
		qr/55000: .*invalid_region/, 'a region that can be one');
	is(sql("SELECT count(*) FROM qpsscale_discover('aws', 'eu-central-1')"),
		'131', 'another region is asked when it is named');
	is($cloud->log(0)->[-1]{region}, 'eu-central-1', 'as the cloud saw');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
