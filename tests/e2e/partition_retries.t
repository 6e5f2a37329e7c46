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

# What a client tells one answer from another by.
sub gist {
    my ($reply) = @_;
    return 'no answer' unless $reply;
    return join ' | ', $reply->{status}, $reply->{body}, map { $reply->header($_) // 'none' } qw(ETag KV-Position);
}

sub insist {
    my ($code) = @_;
    return poll(sub { my $reply = $code->(); $reply && $reply->{status} !~ /^50[34]$/ && $reply }, 'an answer');
}

sub outcome {
    my ($node, $client, $request, $key) = @_;
    my $reply = $node->request(GET => "/outcome?client=$client&request=$request&key=$key", seconds => 10) or return 'no answer';
    return $reply->{status} == 200 ? $reply->{body} : "$reply->{status} $reply->{body}";
}

sub committed { return qq({"outcome":"committed","position":"$_[0]","result":"ok"}) }

sub strict { my ($node, $key) = @_; return insist(sub { $node->get($key, '&consistency=linearizable') }) }

sub version { my ($reply) = @_; return $reply->header('ETag') }

# Answered with 504: in the log of the leader that is cut off, at the position that is returned.
sub unanswered {
    my ($reply) = @_;
    is($reply && "$reply->{status} " . $reply->json->{error}, '504 outcome_unknown', 'the answer is that the outcome is unknown');
    my $position = $reply && $reply->header('KV-Position');
    like($position, qr/^0:1\.\d+$/, 'and where it stands in the log');
    return $position;
}

for my $mode ('quorum', 'async') {
    subtest "$mode: a write that never left the leader is done once, by its retry" => sub {
        my $cluster = Cluster->new;
        my @nodes   = nodes_apart($cluster, 3, -ack => $mode);
        my $old     = $cluster->leader;
        my @others  = others($old, @nodes);
        my $stock   = $old->set(stock => '42', query => '?ack=all');
        my @request = request_as(stock => 41, 'shop', 'r1', 'If-Match: ' . version($stock));

        lose(between($old, @others));
        my $connection = $old->connect;
        $connection->send_request(@request);
        my ($far, $near) = ($cluster->leader(@others), $old);
        is(outcome($_, 'shop', 'r1', 'stock'), '{"outcome":"unknown"}', "$_->{name} does not know it") for @others;
        my $lost = unanswered(scalar $connection->response(seconds => 10));
        like(outcome($near, 'shop', 'r1', 'stock'), qr/^503 /, 'the node that is cut off cannot tell the outcome');
        like($near->request(@request, seconds => 10)->{status}, qr/^50[34]$/, 'nor does it do the retry');

        my ($through) = others($far, @others);
        my $first = insist(sub { $through->request(@request) });
        is($first->{status}, 200, 'a retry through a follower on the other side is done: the condition held');
        isnt($first->header('KV-Position'), $lost, 'in another place');
        is(gist($_->request(@request)), gist($first), "the same answer through $_->{name}") for @others;
        is(outcome($_, 'shop', 'r1', 'stock'), committed($first->header('KV-Position')), 'and outcome') for @others;
        my $next = $far->request(request_as(stock => 40, 'shop', 'r2', 'If-Match: ' . version($first)));
        is($next->{status}, 200, 'the next write follows');

        heal();
        $cluster->settle;
        for my $node ($old, @others) {
            is(gist(insist(sub { $node->request(@request) })), gist($first), "healed: the same answer through $node->{name}");
            is(outcome($node, 'shop', 'r1', 'stock'), committed($first->header('KV-Position')), 'and outcome');
            is(outcome($node, 'shop', 'r2', 'stock'), committed($next->header('KV-Position')), 'the next one\'s too');
            my $read = strict($node, 'stock');
            is($read->json->{value} . ' ' . version($read), '40 ' . version($next), 'no retry had an effect');
            poll(sub { ($node->value('stock') // '') eq '40' }, "the value on $node->{name}");
        }
        my @rows = map { @{ $_->request(GET => '/rejected')->json->{rejected} } } @nodes;
        is(join(' ', map { "$_->{position} $_->{answered}" } @rows), $mode eq 'quorum' ? '' : "$lost unknown",
            $mode eq 'quorum' ? 'no ledger has it' : 'the ledger has the first one, which nobody was told of');
        $_->stop for @nodes;
    };

    subtest "$mode: a write whose acknowledgements were cut off is there, and its retry is told so" => sub {
        my $cluster = Cluster->new;
        my @nodes   = nodes_apart($cluster, 3, -ack => $mode);
        my $old     = $cluster->leader;
        my @others  = others($old, @nodes);
        my $stock   = $old->set(stock => '42', query => '?ack=all');
        my @request = request_as(stock => 41, 'shop', 'r1', 'If-Match: ' . version($stock));

        lose(map { [$_, $old] } @others);    # the leader is heard and hears nobody
        my $connection = $old->connect;
        $connection->send_request(@request);
        my $at = unanswered(scalar $connection->response(seconds => 10));
        my $far = $cluster->leader(@others);
        like(outcome($old, 'shop', 'r1', 'stock'), qr/^503 /, 'the old leader cannot tell the outcome');
        is(poll(sub { my $said = outcome($_, 'shop', 'r1', 'stock'); $said !~ /^50[34]/ && $said }, 'an outcome'),
            committed($at), "$_->{name} can: it is committed where it stood") for @others;
        my $first = insist(sub { $far->request(@request) });
        is("$first->{status} " . $first->header('KV-Position'), "200 $at", 'the retry is told of the first one\'s success');
        is(version($first), '"' . ($at =~ /:(.*)/)[0] . '"', 'and version');
        my $next = $far->request(request_as(stock => 40, 'shop', 'r2', 'If-Match: ' . version($first)));
        is($next->{status}, 200, 'the next write follows');

        heal();
        $cluster->settle;
        for my $node ($old, @others) {
            is(gist(insist(sub { $node->request(@request) })), gist($first), "healed: the same answer through $node->{name}");
            is(outcome($node, 'shop', 'r1', 'stock'), committed($at), 'and outcome');
            is(strict($node, 'stock')->json->{value}, '40', 'no retry had an effect');
        }
        is(join(' ', map { $_->request(GET => '/rejected')->json->{total} } @nodes), '0 0 0', 'nothing was overruled');
        $_->stop for @nodes;
    };
}

subtest 'a counter that is raised with retries while leaders are cut off one after the other counts right' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3, -ack => 'quorum');
    my $made    = $nodes[0]->request(request_as(counter => 0, 'c', 'r0', 'If-None-Match: *'));
    is($made->{status}, 200, 'the counter begins');
    my ($version, @answers) = version($made);
    my $rounds = 8;
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
