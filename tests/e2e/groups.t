# Three groups that share the keys: the demo of six nodes, a group that comes late, one that falls silent.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

# Waits until every node shows the same groups on the ring.
sub wait_ring {
    my ($groups, @nodes) = @_;
    poll(sub {
            my %epochs;
            for my $node (@nodes) {
                my $health  = $node->health  or return;
                my $cluster = $node->cluster or return;
                return unless $health->{status} eq 'healthy' && ($health->{role} eq 'leader' || $health->{role} eq 'follower');
                return unless "@{ $cluster->{groups} // [] }" eq $groups;
                $epochs{ $cluster->{ring_epoch} } = 1;
            }
            return keys %epochs == 1;
        }, "the ring of groups $groups");
}

sub error_of { $_[0] ? ($_[0]->json->{error} // 'none') . " $_[0]{status}" : 'no answer' }

# The command lines of the demo, but for the ports; no -data, no -bind, no -cluster.
my $cluster = Cluster->new;
my @nodes = map {
    my ($group, $leads) = @$_;
    my $node = $cluster->node(exact => 1);
    $node->{args} = [-port => $node->{port}, -group => $group, ($leads ? '-leader' : ()), -api => $node->{api},
        '-discovery-port' => $cluster->{discovery}];
    $node;
} [0, 1], [0, 0], [1, 1], [1, 0], [2, 1], [2, 0];
$_->start for @nodes;
wait_ring('0 1 2', @nodes);

my %owner;
subtest 'any key is written through any node and read on any' => sub {
    my @keys = map { "key-$_" } 1 .. 30;
    for my $i (0 .. $#keys) {
        my $reply = $nodes[$i % 6]->set($keys[$i] => "value of $keys[$i]");
        is($reply->{status}, 200, "$keys[$i] through node " . (1 + $i % 6)) or diag $reply->{body};
        $owner{ $keys[$i] } = $reply->header('KV-Group');
        like($reply->header('KV-Position') // '', qr/^$owner{$keys[$i]}:/, 'the position is of the group that owns it');
    }
    is(join(' ', sort keys %{ { map { $_ => 1 } values %owner } }), '0 1 2', 'each group owns some');
    for my $node (@nodes) {
        my @wrong = grep { poll(sub { defined $node->value($_) }, "$_ on $node->{name}"); $node->value($_) ne "value of $_" } @keys;
        is("@wrong", '', "all are read on $node->{name}");
        my $reply = $node->request(GET => '/keys');
        is(join(' ', @{ $reply->json->{keys} }), join(' ', sort @keys), 'and listed in byte order');
        is($reply->json->{count}, 30, 'with their number');
    }
    my $read = $nodes[1]->request(GET => '/get?consistency=linearizable&key=key-7');
    is($read->json->{value}, 'value of key-7', 'a linearizable read');
    is($read->header('KV-Group'), $owner{'key-7'}, 'is decided by the owner');
    my $again = $nodes[3]->set('key-7' => 'x', headers => ['If-None-Match: *']);
    is(error_of($again), 'precondition_failed 412', 'conditions are decided there too');
};

subtest 'every node shows the same slots, and who is shown is who answers' => sub {
    my ($first) = map { $_->cluster->{slots} } $nodes[0];
    my ($next, %slots) = (0);
    for (@$first) {
        my ($from, $to, $group) = @$_;
        is($from, $next, "no gap before $from") unless $from == $next;
        $slots{$group} += $to - $from + 1;
        $next = $to + 1;
    }
    is($next, 16384, 'all slots are listed');
    is(scalar @$first, 300, 'as ranges');
    is(join(' ', map { "$_:$slots{$_}" } sort keys %slots), '0:4930 1:5820 2:5634', 'each group has about a third');
    my @text = map { join ' ', map { "@$_" } @{ $_->cluster->{slots} } } @nodes;
    is(scalar(grep { $_ ne $text[0] } @text), 0, 'on every node');
    my $kvctl = Cluster::binary('kvctl');
    my ($status, $out) = run([$kvctl, '--server', "127.0.0.1:$nodes[5]{api}", 'cluster', 'slots']);
    my ($head, @rows) = split /\n/, $out;
    is("$status " . @rows, '0 300', 'kvctl prints a row for each range');
    like($rows[0], qr/^ +0 +\d+ +\d+ +\d+  127\.0\.0\.1:\d+$/, 'with a leader');
    for my $key (map { "key-$_" } 1 .. 5) {
        my ($leader) = map { $_->{port} } grep { $_->{args}[3] == $owner{$key} && $_->health->{role} eq 'leader' } @nodes;
        ($status, $out) = run([$kvctl, '--server', "127.0.0.1:$nodes[2]{api}", 'cluster', 'slots', $key]);
        like("$status $out", qr/^0 slot \d+, group $owner{$key}, leader 127\.0\.0\.1:$leader\n$/, "$key has the owner that answered");
    }
    my @tagged = map { $nodes[$_]->set("{key-7}:$_" => $_)->header('KV-Group') } 0 .. 5;
    is("@tagged", join(' ', ($owner{'key-7'}) x 6), 'keys with one hash tag are together');
    is($nodes[0]->delete("{key-7}:$_")->{status}, 200, "{key-7}:$_ is deleted") for 0 .. 5;
};

subtest 'deletes and limits' => sub {
    is($nodes[5]->delete('key-30')->{status}, 200, 'a delete through any node');
    is(error_of($nodes[0]->get('key-30')), 'not_found 404', 'it is gone');
    my @listed;
    my $after = '';
    while (1) {
        my $reply = $nodes[2]->request(GET => "/keys?prefix=key-&limit=7" . ($after ne '' ? "&after=$after" : ''));
        my @part = @{ $reply->json->{keys} } or last;
        cmp_ok(scalar @part, '<=', 7, 'no more than the limit');
        push @listed, @part;
        $after = $part[-1];
    }
    is("@listed", join(' ', sort map { "key-$_" } 1 .. 29), 'page by page, each key once');
};

subtest 'a prefix or an "after" longer than any key ends no node' => sub {
    my $long = 'k' x 1100;
    for my $node (@nodes[0, 4]) {
        for my $level ('', '&consistency=linearizable') {
            my $none = $node->request(GET => "/keys?prefix=$long$level");
            is($none ? $none->json->{count} : 'no answer', 0, "nothing begins with it, on $node->{name}");
            my $behind = $node->request(GET => "/keys?after=key-29$long&limit=1$level");
            is($behind ? "@{ $behind->json->{keys} }" : 'no answer', 'key-3', "what stands behind it, on $node->{name}");
        }
    }
};

subtest 'a long listing is streamed, in order' => sub {
    my @batch = map { sprintf 'long-%05d-%s', $_, 'x' x 180 } 1 .. 1500;
    my $connection = $nodes[0]->connect;
    for my $from (0 .. 29) {
        my @part = @batch[$from * 50 .. $from * 50 + 49];
        $connection->send_request(POST => '/set', body => qq({"key":"$_","value":""})) for @part;
        my @bad = grep { $_->{status} != 200 } map { scalar $connection->response } @part;
        is(scalar @bad, 0, "keys from $part[0]") if @bad;
    }
    poll(sub { my $reply = $nodes[5]->request(GET => '/keys?prefix=long-') or return; $reply->json->{count} == 1500 },
        'all of them on a follower');
    for my $node ($nodes[0], $nodes[3]) {
        my $reply = $node->request(GET => '/keys?prefix=long-');
        is(join(' ', @{ $reply->json->{keys} }), "@batch", "listed by $node->{name}");
        is($reply->json->{count}, 1500, 'and counted');
    }
    my $limited = $nodes[4]->request(GET => '/keys?prefix=long-&limit=700');
    is(join(' ', @{ $limited->json->{keys} }), "@batch[0 .. 699]", 'up to a limit');
};

subtest '/cluster shows the nodes of all groups and the ring' => sub {
    my $shown = $nodes[3]->cluster;
    is($shown->{node_count}, 6, 'six nodes');
    is(scalar(grep { $_->{is_leader} } @{ $shown->{nodes} }), 3, 'three lead');
    is(join(' ', map { $_->{group_id} } sort { $a->{group_id} <=> $b->{group_id} } @{ $shown->{nodes} }), '0 0 1 1 2 2',
        'each of its group');
    ok($shown->{ring_epoch} >= 1, "epoch $shown->{ring_epoch}");
};

subtest 'a group that comes after keys are there is joining, and passes requests on' => sub {
    my $late = $cluster->node(exact => 1);
    $late->{args} = [-port => $late->{port}, -group => 7, '-leader', -api => $late->{api},
        '-discovery-port' => $cluster->{discovery}];
    $late->start;
    poll(sub { my $health = $late->health or return; $health->{status} eq 'joining' && $health->{reason} =~ /hold keys/ },
        'the late group to say that it is joining');
    is($late->value('key-3'), 'value of key-3', 'it reads');
    is($late->set('key-31' => 'late')->{status}, 200, 'it writes');
    isnt($late->get('key-31')->header('KV-Group'), 7, 'and owns nothing');
    is("@{ $late->cluster->{joining} }", '7', '/cluster shows it');
    poll(sub { "@{ $nodes[0]->cluster->{joining} // [] }" eq '7' }, 'the others to show it');
    $late->stop;
};

subtest 'nodes that are killed come back to the same ring' => sub {
    $_->kill9 for @nodes;
    $_->start for @nodes;
    wait_ring('0 1 2', @nodes);
    for my $node (@nodes) {
        poll(sub { defined $node->value('key-5') }, "key-5 on $node->{name}");
        is($node->value('key-5'), 'value of key-5', "key-5 on $node->{name}");
    }
};

subtest 'a silent group keeps its keys: 503 names it, and the others go on' => sub {
    my ($lost) = grep { $owner{$_} == 2 } sort keys %owner;
    my ($kept) = grep { $owner{$_} == 1 } sort keys %owner;
    $_->kill9 for @nodes[4, 5];
    is($nodes[0]->set($kept => 'still')->{status}, 200, 'a key of another group is written');
    for my $reply ($nodes[0]->get($lost), $nodes[2]->set($lost => 'x'), $nodes[1]->request(GET => '/keys')) {
        is(error_of($reply), 'group_unreachable 503', 'the status and the error');
        like($reply->json->{message}, qr/group 2/, 'it names the group');
        ok(defined $reply->header('Retry-After'), 'and says when to try again');
    }
    $_->start for @nodes[4, 5];
    poll(sub { my $value = $nodes[0]->value($lost); defined $value && $value eq "value of $lost" }, 'the group to be back');
    pass('it has its keys again');
};

Cluster::finish();
