# QpsscaleKubernetes.pm
#
# A real Kubernetes API server with etcd (test/kubernetes/cluster.py), for a
# TAP test of "make check-k8s", which names the directory of the program in
# QPSSCALE_KUBERNETES.
#
#   my $cluster = QpsscaleKubernetes->start;
#   $cluster->namespace('prod');
#   $cluster->workload('deployments', 'prod', 'web', replicas => 2);
#   $cluster->role('prod', [ 'apps', 'deployments/scale', 'get patch' ]);
#   my $token = $cluster->token('prod');          # {token, secret}
#   is($cluster->replicas('deployments', 'prod', 'web'), 5, '...');
#   my @asked = $cluster->asked;                  # what the product asked for
#
#   my $node = $cluster->node;                    # with account "cluster"
#   my $id = $cluster->group($node, 'deployments', 'prod', 'web');
#
# kube() is any request as the administrator: it answers status and decoded
# body; must() dies unless the request succeeds.  Objects that "kubectl apply"
# would make are made by apply().

package QpsscaleKubernetes;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use QpsscaleChild;
use QpsscaleNode;

# Two servers, of which one takes 5 s to start where nobody else is running.
our $START_TIMEOUT = 180;

my %KIND = (
	deployments => 'Deployment',
	statefulsets => 'StatefulSet',
	replicasets => 'ReplicaSet',
	workers => 'Worker');

our $CUSTOM_GROUP = 'stable.example.com';

my $count = 0;

sub start
{
	my ($class) = @_;
	my $program = dirname(abs_path(__FILE__)) . '/../kubernetes/cluster.py';
	my $programs = $ENV{QPSSCALE_KUBERNETES}
	  // die "QPSSCALE_KUBERNETES is not set: run make check-k8s\n";
	my $base = $ENV{TESTDATADIR} // 'tmp_check';
	my $log = ($ENV{TESTLOGDIR} // 'tmp_check/log') . "/cluster_$$.log";

	$count++;
	my $child = QpsscaleChild->start(
		[
			'python3', $program, '--apiserver', "$programs/kube-apiserver",
			'--directory', "$base/cluster_${$}_$count"
		],
		$log, $START_TIMEOUT);
	my $found = eval { decode_json($child->line) };
	die "the cluster did not start (see $log): " . $child->line . "\n"
	  unless $found;
	return bless {
		%$found,
		child => $child,
		json => JSON::PP->new->utf8->canonical->allow_nonref,
		http => HTTP::Tiny->new(
			timeout => 120, keep_alive => 0, proxy => undef, http_proxy => undef)
	}, $class;
}

# Where the product finds it: https://127.0.0.1:PORT, and whom it may trust.
sub server { return $_[0]->{server}; }
sub ca_file { return $_[0]->{ca_file}; }

# Of its files: admin.crt, kube-apiserver.log ...
sub path { return "$_[0]->{directory}/$_[1]"; }

# Any request; a PATCH is a merge patch.
sub kube
{
	my ($self, $method, $path, $data) = @_;
	my %request = (headers => { 'Content-Type' => 'application/json' });

	$request{headers}{'Content-Type'} = 'application/merge-patch+json'
	  if $method eq 'PATCH';
	$request{content} = $self->{json}->encode($data) if defined $data;
	my $reply =
	  $self->{http}->request($method, $self->{proxy} . $path, \%request);
	my $body = eval { $self->{json}->decode($reply->{content}) };

	return ($reply->{status}, $body // $reply->{content});
}

sub must
{
	my ($self, $method, $path, $data) = @_;
	my ($status, $body) = $self->kube($method, $path, $data);

	die "cluster: $method $path: $status "
	  . (ref $body ? $self->{json}->encode($body) : $body) . "\n"
	  if $status >= 300;
	return $body;
}

# What no request of Kubernetes can do: see test/kubernetes/proxy.py.
sub _cluster
{
	my ($self, $method, $what, $data) = @_;

	return $self->must($method, "/_cluster/$what", $data);
}

sub namespace
{
	my ($self, $name) = @_;

	$self->must('POST', '/api/v1/namespaces', { metadata => { name => $name } });
	return;
}

sub _url
{
	my ($plural, $namespace, $name) = @_;
	my $group = $plural eq 'workers' ? $CUSTOM_GROUP : 'apps';

	return "/apis/$group/v1/namespaces/$namespace/$plural"
	  . (defined $name ? "/$name" : '');
}

# A scalable object.  Options: replicas; boot (seconds until a pod is ready);
# request, of each pod ("cpu=100m,memory=10Mi"); spec (more of it).
sub workload
{
	my ($self, $plural, $namespace, $name, %opts) = @_;
	my %notes;
	my %spec = (defined $opts{replicas} ? (replicas => $opts{replicas} + 0) : ());

	$notes{'test.qpsscale/boot-seconds'} = "$opts{boot}" if defined $opts{boot};
	$notes{'test.qpsscale/request'} = $opts{request} if defined $opts{request};
	if ($plural ne 'workers')
	{
		$spec{selector} = { matchLabels => { app => $name } };
		$spec{serviceName} = $name if $plural eq 'statefulsets';
		$spec{template} = {
			metadata => { labels => { app => $name } },
			spec => { containers => [ { name => 'app', image => 'app' } ] } };
	}
	return $self->must(
		'POST',
		_url($plural, $namespace),
		{
			apiVersion => $plural eq 'workers' ? "$CUSTOM_GROUP/v1" : 'apps/v1',
			kind => $KIND{$plural},
			metadata => { name => $name, annotations => \%notes },
			spec => { %spec, %{ $opts{spec} // {} } }
		});
}

sub object
{
	my ($self, $plural, $namespace, $name) = @_;

	return $self->must('GET', _url($plural, $namespace, $name));
}

# What somebody else changes of it.
sub change
{
	my ($self, $plural, $namespace, $name, $patch) = @_;

	return $self->must('PATCH', _url($plural, $namespace, $name), $patch);
}

sub delete_object
{
	my ($self, $plural, $namespace, $name) = @_;

	$self->must('DELETE', _url($plural, $namespace, $name));
	return;
}

# The desired number, as the object says it; absent is none for a Worker.
sub replicas
{
	my ($self, $plural, $namespace, $name) = @_;

	return $self->object($plural, $namespace, $name)->{spec}{replicas};
}

sub ready
{
	my ($self, $plural, $namespace, $name) = @_;

	return $self->object($plural, $namespace, $name)->{status}{readyReplicas}
	  // 0;
}

# Whether a deployment's pods are ready for so long that their samples count: one
# that ends before a whole window of them does not.
sub warm
{
	my ($self, $namespace, $name, $count) = @_;
	my $pods = $self->must('GET',
		"/api/v1/namespaces/$namespace/pods?labelSelector=app%3D$name")->{items};
	my @old = grep {
		my $pod = $_;
		grep { $_->{type} eq 'Ready' && $_->{lastTransitionTime} lt _ago(4) }
		  @{ $pod->{status}{conditions} // [] }
	} @$pods;

	return @old == $count && @$pods == $count;
}

sub _ago
{
	my ($seconds) = @_;

	return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time() - $seconds));
}

# A kind that a user has defined: workers.stable.example.com, version v1.
sub custom_kind
{
	my ($self) = @_;
	my %integer = (type => 'integer', minimum => 0);

	$self->must(
		'POST',
		'/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
		{
			metadata => { name => "workers.$CUSTOM_GROUP" },
			spec => {
				group => $CUSTOM_GROUP,
				scope => 'Namespaced',
				names => {
					plural => 'workers', singular => 'worker', kind => 'Worker' },
				versions => [ {
						name => 'v1',
						served => JSON::PP::true,
						storage => JSON::PP::true,
						schema => { openAPIV3Schema => {
								type => 'object',
								properties => {
									spec => { type => 'object', properties => {
										replicas => { %integer, maximum => 20 } } },
									status => { type => 'object', properties => {
										replicas => \%integer,
										selector => { type => 'string' } } } } } },
						subresources => {
							status => {},
							scale => {
								specReplicasPath => '.spec.replicas',
								statusReplicasPath => '.status.replicas',
								labelSelectorPath => '.status.selector' } } } ] }
		});
	return;
}

# A service account and what it may do, as [ group, resource, verbs ]; called
# again it may do that instead.
sub role
{
	my ($self, $namespace, @rules) = @_;
	my $rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/$namespace";
	my @list = map {
		+{
			apiGroups => [ $_->[0] ],
			resources => [ split / /, $_->[1] ],
			verbs => [ split / /, $_->[2] ]
		}
	} @rules;

	my ($status) = $self->kube('PATCH', "$rbac/roles/qpsscale",
		{ rules => \@list });
	return if $status == 200;
	$self->must('POST', "/api/v1/namespaces/$namespace/serviceaccounts",
		{ metadata => { name => 'qpsscale' } });
	$self->must('POST', "$rbac/roles",
		{ metadata => { name => 'qpsscale' }, rules => \@list });
	$self->must(
		'POST',
		"$rbac/rolebindings",
		{
			metadata => { name => 'qpsscale' },
			roleRef => {
				apiGroup => 'rbac.authorization.k8s.io',
				kind => 'Role',
				name => 'qpsscale' },
			subjects => [ {
					kind => 'ServiceAccount',
					name => 'qpsscale',
					namespace => $namespace } ]
		});
	return;
}

# A token of that service account, valid until revoke() of its secret; the
# server believes in it for up to 10 s more.
sub token
{
	my ($self, $namespace) = @_;

	return $self->_cluster('POST', 'token',
		{ namespace => $namespace, account => 'qpsscale' });
}

sub revoke
{
	my ($self, $namespace, $token) = @_;

	$self->must('DELETE', "/api/v1/namespaces/$namespace/secrets/$token->{secret}");
	return;
}

# Whether the API server believes in a token.
sub believes
{
	my ($self, $token) = @_;
	my $review = $self->must('POST', '/apis/authentication.k8s.io/v1/tokenreviews',
		{ spec => { token => $token->{token} } });

	return $review->{status}{authenticated} ? 1 : 0;
}

# metrics.k8s.io, which the API server has from a server of its own.
sub metrics_api
{
	my ($self) = @_;

	$self->must('POST', '/api/v1/namespaces/kube-system/services', {
		metadata => { name => 'metrics-server' },
		spec => { type => 'ExternalName', externalName => 'localhost' } });
	open(my $file, '<', $self->ca_file) or die $self->ca_file . ": $!\n";
	my $pem = do { local $/; <$file> };
	require MIME::Base64;
	$self->must('POST', '/apis/apiregistration.k8s.io/v1/apiservices', {
		metadata => { name => 'v1beta1.metrics.k8s.io' },
		spec => {
			group => 'metrics.k8s.io',
			version => 'v1beta1',
			groupPriorityMinimum => 100,
			versionPriority => 100,
			caBundle => MIME::Base64::encode_base64($pem, ''),
			service => {
				namespace => 'kube-system',
				name => 'metrics-server',
				port => $self->{metrics_port} } } });
	return;
}

sub signal
{
	my ($self, $server, $signal) = @_;

	return $self->_cluster('POST', 'signal',
		{ server => $server, signal => $signal });
}

# The account qpsscale of namespace prod gets 429 until calm().
sub crowd { return $_[0]->_cluster('POST', 'crowd', {}); }
sub calm { return $_[0]->_cluster('POST', 'calm', {}); }
sub restart { return $_[0]->_cluster('POST', 'restart', {}); }
sub compact { return $_[0]->_cluster('POST', 'compact', {}); }

# Status stays what it is while the controllers sleep.
sub pause_controllers
{
	my ($self, $paused) = @_;

	return $self->_cluster('POST', 'workloads',
		{ paused => $paused ? JSON::PP::true : JSON::PP::false });
}

# What each pod of an object uses from the next sample on.
sub usage
{
	my ($self, $plural, $namespace, $name, $usage) = @_;

	return $self->_cluster('POST', 'usage',
		{ "$namespace/$plural/$name" => $usage });
}

sub hang_metrics
{
	my ($self, $hang) = @_;

	return $self->_cluster('POST', 'metrics',
		{ hang => $hang ? JSON::PP::true : JSON::PP::false });
}

# What service accounts have asked for since forget(), as audit events.
sub audit { return @{ $_[0]->_cluster('GET', 'audit')->{items} }; }
sub forget { $_[0]->_cluster('DELETE', 'audit'); return; }

# The same, as "verb resource[/subresource] status", oldest first.
sub asked
{
	my ($self) = @_;

	return map {
		my $ref = $_->{objectRef} // {};
		join(' ', $_->{verb},
			join('/', grep { defined && length } @$ref{qw(resource subresource)}),
			$_->{responseStatus}{code} // '?');
	} $self->audit;
}

# ---- the product beside it ----

# A server whose worker is quiet, armed, with the account "cluster", whose
# token is the one of use_token().  Options are those of QpsscaleNode->start.
sub node
{
	my ($self, %opts) = @_;
	my $secrets = $self->{secrets} = PostgreSQL::Test::Utils::tempdir();
	my ($node) = QpsscaleNode->start(
		%opts,
		extension => 0,
		settings => {
			'qpsscale.interval' => "'1h'",
			'qpsscale.secrets_dir' => "'$secrets'",
			%{ $opts{settings} // {} }
		});

	$node->safe_psql('postgres', 'CREATE EXTENSION qpsscale; SELECT qpsscale_arm()');
	$self->account($node, 'cluster', "token 'file:token'");
	return $node;
}

# An account for this cluster, with the options of its user mapping.
sub account
{
	my ($self, $node, $name, $options) = @_;

	$node->safe_psql('postgres', <<SQL);
CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'kubernetes', endpoint '$self->{server}',
			 ca_file '$self->{ca_file}');
CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($options);
SQL
	return;
}

# A secret of the account, by the name after "file:".
sub secret
{
	my ($self, $name, $text) = @_;
	my $path = "$self->{secrets}/$name";

	open(my $file, '>', "$path.new") or die "$path: $!\n";
	chmod(0600, $file);
	print $file $text;
	close($file) or die "$path: $!\n";
	rename("$path.new", $path) or die "$path: $!\n";
	return;
}

# With a new line at its end, as a file often has it.
sub use_token
{
	my ($self, $token) = @_;

	$self->secret('token', "$token->{token}\n");
	return;
}

my %COLUMN = (workers => "workers.v1.$CUSTOM_GROUP");

# A live group for an object, driven by its CPU at 50 percent, without
# cooldowns and windows; options are columns.
sub group
{
	my ($self, $node, $plural, $namespace, $name, %opts) = @_;
	my %row = (
		provider => 'kubernetes',
		account => 'cluster',
		kind => $COLUMN{$plural} // $KIND{$plural},
		asg_id => "$namespace/$name",
		target_cpu => 50,
		min_instances => 0,
		max_instances => 20,
		scale_up_cooldown_seconds => 0,
		scale_down_cooldown_seconds => 0,
		general_cooldown_seconds => 0,
		scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false',
		enabled => 'true',
		dry_run => 'false',
		%opts);
	my @columns = sort grep { defined $row{$_} } keys %row;

	return $node->safe_psql('postgres',
		'INSERT INTO qpsscale.resource_groups (' . join(', ', @columns)
		  . ') VALUES (' . join(', ', map { "'$row{$_}'" } @columns)
		  . ') RETURNING id');
}

sub stop
{
	my ($self) = @_;

	$self->{child}->stop;
	return;
}

1;
