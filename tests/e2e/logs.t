# The log: JSON and text, its level changed while the node runs, requests at debug, slow requests with where the time
# went.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

my $cluster = Cluster->new;
my ($node) = $cluster->start(1);

sub level {
    my ($to) = @_;
    return defined $to ? $node->request(POST => '/log-level', body => qq({"level":"$to"})) : $node->request(GET => '/log-level');
}

subtest 'every line of -log-format json is one object with four fields' => sub {
    for my $line ($node->lines) {
        my $json = eval { json_of($line) };
        is(join(' ', sort keys %{ $json // {} }), 'event level message time', $line =~ s/.*"event":"(\w+)".*/$1/r);
        like($json->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'with a time');
    }
};

subtest 'the level changes while the node runs' => sub {
    is(level()->{body}, '{"level":"info"}', 'it begins at info');
    $node->get('quiet');
    is(scalar(() = $node->events('request')), 0, 'requests are not logged');
    is(level('debug')->{body}, '{"level":"debug"}', 'POST /log-level');
    $node->get('loud');
    my @requests = $node->events('request');
    like($requests[-1], qr{^GET /get: status 404 after \d+\.\d{3} ms$}, 'at debug they are');
    unlike($node->log, qr/loud/, 'without keys');
    is(level('notice')->{status}, 200, 'to notice');
    my $before = @{ [$node->events('request')] };
    $node->get('quiet');
    is(scalar(() = $node->events('request')), $before, 'and no more');
    is(level('shouting')->{status}, 400, 'a level that is none');
    is(level()->{body}, '{"level":"notice"}', 'changes nothing');
};

subtest 'SIGUSR1 makes it more verbose, SIGUSR2 less' => sub {
    my $signal = sub {
        my ($name, $level) = @_;
        kill $name => $node->{pid};
        poll(sub { level()->json->{level} eq $level }, $level);
        pass("$name: $level");
    };
    $signal->(USR1 => 'info');
    $signal->(USR1 => 'debug');
    $signal->(USR1 => 'debug');
    $signal->(USR2 => 'info');
    $signal->(USR2 => 'notice');
    $signal->(USR2 => 'warning');
    $signal->(USR2 => 'error');
    $signal->(USR2 => 'error');
    ok($node->running, 'the node goes on');
};
$node->stop;

subtest 'text lines begin with time and level' => sub {
    $node->start('-log-format' => 'text', '-log-level' => 'debug')->up;
    $node->get('any');
    my @lines = $node->lines;
    like($_, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug  |info   |notice |warning|error  ) \S/, $_) for @lines;
    $node->stop;
};

subtest 'a request that waits for a leader is slow, and the log says so' => sub {
    my $three = Cluster->new(args => ['-slow-ms' => 100]);
    my ($leader, @followers) = $three->start(3, -ack => 'quorum');
    $three->settle;
    is(scalar(() = $followers[0]->events('slow_request')), 0, 'nothing is slow at first');
    my $old = $three->leader;
    my ($asked) = grep { $_ != $old } $leader, @followers;
    $old->signal('STOP');
    my $old_id = (map { $_->{node_id} } grep { $_->{is_leader} } @{ $asked->cluster->{nodes} })[0];
    $asked->set(key => 'x', seconds => 10);
    my $line = $asked->wait_event('slow_request');
    like($line, qr{^slow: POST /set: status \d+ after \d+\.\d+ ms: \d+ ms }, 'with status and time');
    like($line, qr{waiting for a leader}, 'and where it went');
    like($line, qr{passed on and waiting for the answer \(node \Q$old_id\E\)}, 'and whose answer was waited for');
    cmp_ok(($asked->request(GET => '/metrics')->{body} =~ /^kvnode_http_slow_requests_total (\d+)$/m)[0], '>=', 1, 'counted');
    $old->signal('CONT');
    $_->stop for $leader, @followers;
    my $alone = Cluster->new;
    my ($fast) = $alone->start(1, '-slow-ms' => 0);
    $fast->set(key => 'x');
    is(scalar(() = $fast->events('slow_request')), 0, '-slow-ms 0 logs none');
    $fast->stop;
};

subtest 'a threshold that is none is refused' => sub {
    my ($status, undef, $error) = run([Cluster::binary('kvnode'), '-slow-ms', 'soon']);
    is($status, 2, 'exit 2');
    like($error, qr/-slow-ms requires a number from 0 to 60000/, 'and one line');
};

finish();
