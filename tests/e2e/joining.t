# How nodes find each other, join a group and become its voters.
use strict;
use warnings;
use File::Path qw(remove_tree);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

sub voters {
    my ($node) = @_;
    my $reply = $node->set(voters => 'x') or return 0;
    my ($count) = ($reply->header('KV-Acks') // '') =~ m{/(\d+)$};
    return $count // 0;
}

sub voters_become {
    my ($node, $count) = @_;
    return poll(sub { voters($node) == $count }, "$count voters");
}

sub stop_all { $_->kill9 for @_ }

subtest 'a node that is started first waits, and its log says for what' => sub {
    my $cluster = Cluster->new;
    my ($early, $leader) = map { $cluster->node } 1 .. 2;
    $leader->{leader} = 1;
    $early->start->up;
    like($early->wait_event('waiting'), qr/waits for a member of group 0; .*-leader/, 'the log says what to do');
    my $health = $early->health;
    is("$health->{status} $health->{role} $health->{keys}", 'waiting newcomer 0', '/health says so');
    like($health->{fix}, qr/-leader/, 'with the mend');
    my $read = $early->get('k');
    is($read->{status}, 503, 'it does not answer reads with an empty store');
    is($read->header('Retry-After'), 1, 'but asks to come back');
    $leader->start;
    $cluster->settle;
    is($early->role, 'follower', 'it joins once the leader is there');
    is($early->set(k => 'v')->{status}, 200, 'and takes writes');
    stop_all($early, $leader);
};

subtest 'nodes may be started in any order' => sub {
    for my $place (1 .. 3) {
        my $cluster = Cluster->new;
        my @nodes = map { $cluster->node(leader => $_ == $place) } 1 .. 3;
        for my $node (@nodes) {
            $node->start;
            $node->wait_event('start');
        }
        is($cluster->settle, $nodes[ $place - 1 ], "the founder was number $place");
        voters_become($nodes[0], 3);
        stop_all(@nodes);
    }
};

subtest 'joining takes less than a second where broadcast reaches' => sub {
    my $cluster = Cluster->new;
    my ($leader) = $cluster->start(1);
    $leader->set(before => 'there');
    my @took;
    for my $number (2 .. 3) {
        my $node = $cluster->node;
        my $from = time;
        $node->start;
        poll(sub { ($node->value('before') // '') eq 'there' }, 'the data');
        push @took, time - $from;
        voters_become($leader, $number);
    }
    diag sprintf 'joined, with the data, after %s', join ', ', map { sprintf '%.2f s', $_ } @took;
    cmp_ok($_, '<', 3, sprintf 'after %.2f s', $_) for @took;
    stop_all(@{ $cluster->{nodes} });
};

subtest '-peers finds nodes where broadcast does not reach' => sub {
    my $cluster = Cluster->new;
    my $leader = $cluster->node(leader => 1, args => ['-no-broadcast']);
    my $seed = "127.0.0.1:$leader->{port}";
    my @others = map { $cluster->node(args => ['-no-broadcast', -peers => $_]) } $seed, "localhost:$leader->{port}";
    $_->start for @others, $leader;
    is($cluster->settle, $leader, 'the group forms');
    voters_become($leader, 3);
    poll(sub { $_->cluster->{node_count} == 3 }, 'three nodes') for @others;
    pass('every node lists all three');
    $leader->kill9;
    my $next = $cluster->leader;
    is($others[1]->set(after => 'failover')->{status}, 200, 'those that were told of the first alone know each other');
    $leader->start;
    $cluster->settle;
    is($leader->role, 'follower', 'the first comes back');
    stop_all(@{ $cluster->{nodes} });
};

subtest 'nodes on several addresses of one host share their ports' => sub {
    my $cluster = Cluster->new;
    my @addresses = map { "127.0.0.$_" } 1 .. 3;
    my ($port, $api) = map { Cluster::free_port('tcp', @addresses) } 1 .. 2;
    my @nodes = map { $cluster->node(bind => $_, port => $port, api => $api, leader => $_ eq '127.0.0.1') } @addresses;
    $_->start for @nodes;
    $cluster->settle;
    my @seen = sort map { $_->{address} } @{ $nodes[2]->cluster->{nodes} };
    is("@seen", join(' ', map { "$_:$port" } @addresses), 'each is listed at its own address');
    voters_become($nodes[2], 3);
    $nodes[0]->set(far => 'away');
    is($nodes[1]->value('far', '&consistency=linearizable'), 'away', 'they replicate');
    my ($folder) = map { "$cluster->{directory}/$_" } 'default';
    mkdir $folder;
    my $default = $cluster->node(bind => '127.0.0.4', exact => 1, name => 'default');
    $default->{args} = [-bind => '127.0.0.4', -port => $default->{port}, -api => $default->{api},
        -cluster => $cluster->{name}, '-discovery-port' => $cluster->{discovery}];
    $default->start->up;
    ok(-d "$cluster->{directory}/kvdata/127.0.0.4_$default->{port}", 'the data directory bears the address');
    stop_all(@nodes, $default);
};

subtest 'nodes of another cluster name are listed but never joined' => sub {
    my $cluster = Cluster->new;
    my ($leader) = $cluster->start(1);
    my $foreign = $cluster->node(args => [-cluster => 'somebody-else']);
    my $near = $cluster->node;
    $_->start for $foreign, $near;
    $cluster->settle($leader, $near);
    $foreign->wait_event('waiting');
    my $listed = poll(sub { ($leader->cluster->{foreign} // [])->[0] }, 'the foreign node in the list');
    is($listed->{cluster}, 'somebody-else', 'it is listed with its name');
    is($listed->{address}, "127.0.0.1:$foreign->{port}", 'and its address');
    is($leader->cluster->{node_count}, 2, 'but does not count');
    is($foreign->health->{status}, 'waiting', 'it waits on');
    is(voters($leader), 2, 'and votes nowhere');
    my $second = $cluster->node(leader => 1, args => [-cluster => 'somebody-else']);
    $second->start;
    $cluster->settle($foreign, $second);
    is($second->set(whose => 'theirs')->{status}, 200, 'it finds its own');
    is($leader->get('whose')->{status}, 404, 'and the two never mix');
    stop_all(@{ $cluster->{nodes} });
};

subtest 'a second -leader joins the group that is there, and says so' => sub {
    my $cluster = Cluster->new;
    my ($leader) = $cluster->start(1);
    $leader->set(kept => 'yes');
    my $second = $cluster->node(leader => 1);
    $second->start;
    like($second->wait_event('group_lives'), qr/-leader has no effect: group 0 already exists at 127\.0\.0\.1:$leader->{port}/,
        'a notice');
    is($cluster->settle, $leader, 'the first leads');
    is($second->value('kept'), 'yes', 'the second follows');
    $leader->kill9;
    $leader->start;
    like($leader->wait_event('leader_flag'), qr/-leader only founds a group/, 'a restart with -leader is no founding');
    $cluster->settle;
    is($leader->value('kept'), 'yes', 'nothing was founded anew');
    stop_all(@{ $cluster->{nodes} });
};

subtest 'a wiped data directory rejoins as a newcomer and gets the data' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    voters_become($nodes[0], 3);
    $nodes[0]->set("wiped-$_" => $_) for 1 .. 50;
    for my $node ($nodes[1], $cluster->leader) {
        my $id = $node->id;
        $node->kill9;
        remove_tree($node->{data});
        $node->{args} = [-id => $id];
        $node->start;
        $node->wait_event('adopted');
        $cluster->settle;
        poll(sub { ($node->value('wiped-50') // '') eq '50' }, 'the data');
        is($node->id, $id, "$node->{name} bears its id again");
        poll(sub { ($node->set(all => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' },
            'three votes again');
        is($node->role, 'follower', "$node->{name} is a follower again");
        is(scalar @{ $node->request(GET => '/keys?prefix=wiped-&consistency=linearizable')->json->{keys} }, 50,
            'with all keys');
    }
    stop_all(@nodes);
};

subtest 'nodes with -memory keep what a majority holds' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3, '-memory', -ack => 'quorum');
    voters_become($nodes[0], 3);
    $nodes[0]->set("memory-$_" => $_) for 1 .. 20;
    for my $round (1 .. 3) {
        my $node = $nodes[ $round % 3 ];
        $node->kill9;
        my $other = $nodes[ ($round + 1) % 3 ];
        is($other->set("memory-without-$round" => $round)->{status}, 200, "written without $node->{name}");
        $node->start;
        $node->wait_event('adopted');
        $cluster->settle;
        voters_become($node, 3);
        my $reply = $node->request(GET => '/keys?prefix=memory-&consistency=linearizable');
        is($reply->json->{count}, 20 + $round, "$node->{name} comes back empty and gets everything");
        poll(sub { ($node->set(all => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three votes');
    }
    ok(!-e $_->{data}, "$_->{name} has made no directory") for @nodes;
    stop_all(@nodes);
};

subtest 'voters grow 1, 2, 3, 5, and a fourth stays a learner' => sub {
    my $cluster = Cluster->new;
    my ($leader) = $cluster->start(1, '-memory');
    my @want = (undef, 1, 2, 3, 3, 5, 5);
    for my $number (1 .. 6) {
        if ($number > 1) {
            my $node = $cluster->node(args => ['-memory']);
            $node->start;
            $cluster->settle;
        }
        voters_become($leader, $want[$number]);
        my %roles;
        poll(sub {
                %roles = ();
                $roles{ $_->role }++ for @{ $cluster->{nodes} };
                ($roles{learner} // 0) == $number - $want[$number];
            }, 'the roles');
        is(join(' ', map { "$_:$roles{$_}" } sort keys %roles),
            join(' ', ($want[$number] > 1 ? 'follower:' . ($want[$number] - 1) : ()), 'leader:1',
                ($number > $want[$number] ? 'learner:' . ($number - $want[$number]) : ())), "$number nodes");
    }
    my ($learner) = grep { $_->role eq 'learner' } @{ $cluster->{nodes} };
    is($learner->set(by => 'learner')->{status}, 200, 'a learner passes writes on');
    poll(sub { ($learner->value('by') // '') eq 'learner' }, 'the write on the learner');
    is($learner->value('by', '&consistency=linearizable'), 'learner', 'and serves reads');
    stop_all(@{ $cluster->{nodes} });
};

subtest '-voters bounds the voters' => sub {
    my $cluster = Cluster->new;
    my ($leader) = $cluster->start(1, '-memory', -voters => 1);
    my $second = $cluster->node(args => ['-memory']);
    $second->start;
    poll(sub { $second->role eq 'learner' }, 'a learner');
    $leader->set(k => 'v');
    poll(sub { ($second->value('k') // '') eq 'v' }, 'the data');
    is(voters($leader), 1, 'one voter');
    stop_all($leader, $second);
};

finish();
