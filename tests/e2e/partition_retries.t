# Retries with KV-Client and KV-Request, and GET /outcome, where a link is cut between a write and its answer: one effect
# and one answer, whether or not the write had got through.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster::Links;
use Cluster;

sub others { my ($node, @nodes) = @_; return grep { $_ != $node } @nodes }

sub request_as {
    my ($key, $value, $client, $request, @headers) = @_;
    return (POST => '/set', body => text_of({ key => $key, value => "$value" }),
        headers => ["KV-Client: $client", "KV-Request: $request", @headers]);
}

sub outcome {
    my ($node, $client, $request, $key) = @_;
    my $reply = $node->request(GET => "/outcome?client=$client&request=$request&key=$key", seconds => 10) or return 'no answer';
    return $reply->{status} == 200 ? $reply->{body} : "$reply->{status} $reply->{body}";
}

sub committed { return qq({"outcome":"committed","position":"$_[0]","result":"ok"}) }

sub strict { my ($node, $key) = @_; return insist(sub { $node->get($key, '&consistency=linearizable') }) }

sub version { my ($reply) = @_; return $reply->header('ETag') }

# Four groups at once, those of one way on the same addresses, each with a stock of 42 that a client lowers. Either the
# write never leaves the leader, or it gets through and its acknowledgements do not come back.
my @groups = map { my $mode = $_; map { { mode => $mode, way => $_, cluster => Cluster->new } } ('never left', 'got through') }
    qw(quorum async);
$_->{nodes} = [start_apart($_->{cluster}, $_->{way} eq 'never left' ? 1 : 2, 3, -ack => $_->{mode})] for @groups;
for my $group (@groups) {
    all_vote(@{ $group->{nodes} });
    my $old = $group->{old} = $group->{cluster}->leader;
    $group->{others} = [others($old, @{ $group->{nodes} })];
    my $stock = $old->set(stock => '42', query => '?ack=all');
    $group->{request} = [request_as(stock => 41, 'shop', 'r1', 'If-Match: ' . version($stock))];
    $group->{ways} = [between($old, @{ $group->{others} })];
    $group->{ways} = [grep { $_->[1] == $old } @{ $group->{ways} }] if $group->{way} eq 'got through';
}

sub ask {
    my ($node, @request) = @_;
    my $connection = $node->connect;
    $connection->send_request(@request);
    return $connection;
}

lose(map { @{ $_->{ways} } } @groups);
$_->{waiting} = ask($_->{old}, @{ $_->{request} }) for @groups;
$_->{new} = $_->{cluster}->leader(@{ $_->{others} }) for @groups;
for my $group (@groups) {
    poll(sub { $group->{old}->health->{status} ne 'healthy' }, 'the old leader to see that it is alone');
    $group->{retry}   = ask($group->{old}, @{ $group->{request} });
    $group->{outcome} = ask($group->{old}, GET => '/outcome?client=shop&request=r1&key=stock');
}

for my $group (@groups) {
    my ($old, $new, $others, $request) = @$group{qw(old new others request)};
    my $through = $group->{way} eq 'got through';
    subtest "$group->{mode}: a write that $group->{way}, while the leader is cut off" => sub {
        my $expected = '{"outcome":"unknown"}';
        if (!$through) {
            is(outcome($_, 'shop', 'r1', 'stock'), $expected, "$_->{name} does not know it") for @$others;
        }
        my $reply = $group->{waiting}->response(seconds => 10);
        is("$reply->{status} " . $reply->json->{error}, '504 outcome_unknown', 'the client is told that the outcome is unknown');
        my $at = $group->{at} = $reply->header('KV-Position');
        like($at, qr/^0:1\.\d+$/, 'and where the write stands in the log');
        like($group->{outcome}->response->{status}, qr/^503$/, 'nor can /outcome tell there');
        like($group->{retry}->response->{status}, qr/^50[34]$/, 'nor is a retry done there');
        if ($through) {
            is(outcome($_, 'shop', 'r1', 'stock'), committed($at), "by $_->{name} it is committed where it stood") for @$others;
        }
        my ($follower) = others($new, @$others);
        my $first = $group->{first} = insist(sub { $follower->request(@$request) });
        is($first->{status}, 200, 'a retry on the other side is done: the condition held');
        is($first->header('KV-Position') eq $at, $through, 'its effect is ' . ($through ? 'that of the first one' : 'its own'));
        is(version($first), '"' . ($first->header('KV-Position') =~ /:(.*)/)[0] . '"', 'its version is its position');
        is(gist($_->request(@$request)), gist($first), "the same answer through $_->{name}") for @$others;
        is(outcome($_, 'shop', 'r1', 'stock'), committed($first->header('KV-Position')), 'and outcome') for @$others;
        $group->{next} = $new->request(request_as(stock => 40, 'shop', 'r2', 'If-Match: ' . version($first)));
        is($group->{next}{status}, 200, 'the next write follows');
    };
}

heal();
for my $group (@groups) {
    my ($old, $others, $first, $next) = @$group{qw(old others first next)};
    subtest "$group->{mode}: a write that $group->{way}, healed" => sub {
        $group->{cluster}->settle;
        for my $node ($old, @$others) {
            is(gist(insist(sub { $node->request(@{ $group->{request} }) })), gist($first), "the same answer through $node->{name}");
            is(outcome($node, 'shop', 'r1', 'stock'), committed($first->header('KV-Position')), 'and outcome');
            is(outcome($node, 'shop', 'r2', 'stock'), committed($next->header('KV-Position')), 'the next one\'s too');
            my $read = strict($node, 'stock');
            is($read->json->{value} . ' ' . version($read), '40 ' . version($next), 'no retry had an effect');
            ok(poll(sub { ($node->value('stock') // '') eq '40' }, 'the value'), 'the node itself has it so');
        }
        my @rows = map { @{ $_->request(GET => '/rejected')->json->{rejected} } } $old, @$others;
        my $kept = $group->{mode} eq 'async' && $group->{way} eq 'never left';
        is(join(' ', map { "$_->{position} $_->{answered}" } @rows), $kept ? "$group->{at} unknown" : '',
            $kept ? 'a ledger has the one that was overruled, and that its client was not told "ok"' : 'the ledgers are empty');
        $_->stop for $old, @$others;
    };
}

subtest 'a counter that is raised with retries while leaders are cut off one after the other counts right' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3, -ack => 'quorum');
    my $made    = $nodes[0]->request(request_as(counter => 0, 'c', 'r0', 'If-None-Match: *'));
    is($made->{status}, 200, 'the counter begins');
    my ($version, @answers) = version($made);
    my $rounds = 6;
    for my $i (1 .. $rounds) {
        my @request = request_as(counter => $i, 'c', "r$i", "If-Match: $version");
        my $old     = $cluster->settle;
        my @others  = others($old, @nodes);
        my $connection = $old->connect;
        if ($i % 4 == 1) {
            lose(between($old, @others));
            $connection->send_request(@request);
        } elsif ($i % 4 == 2) {
            lose(map { [$_, $old] } @others);
            $connection->send_request(@request);
        } else {    # the cut comes while the write is on its way
            $connection->send_request(@request);
            lose($i % 4 == 3 ? between($old, @others) : map { [$old, $_] } @others);
        }
        my $reply = insist(sub { $others[$i % 2]->request(@request, seconds => 1) });
        heal();
        $version = version($reply);
        push @answers, [\@request, gist($reply)];
        is($reply->{status}, 200, "write $i is done, and not refused for its own first attempt");
    }
    $cluster->settle;
    for my $node (@nodes) {
        my $read = strict($node, 'counter');
        is($read->json->{value} . ' ' . version($read), "$rounds $version", "the counter, by $node->{name}");
        my @different = grep { gist(insist(sub { $node->request(@{ $_->[0] }) })) ne $_->[1] } @answers;
        is(scalar @different, 0, 'every retry gets the answer that was given');
    }
    is(strict($nodes[0], 'counter')->json->{value}, $rounds, 'and has no effect');
    $_->stop for @nodes;
};

finish();
