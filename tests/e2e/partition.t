# Links that are cut, both ways or one way: who leads, who answers, and that nothing answered at quorum is lost.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster::Links;
use Cluster;

sub others { my ($node, @nodes) = @_; return grep { $_ != $node } @nodes }

sub term { my ($reply) = @_; return ($reply->header('ETag') =~ /^"(\d+)\./)[0] }

sub metric {
    my ($node, $name) = @_;
    my ($value) = $node->request(GET => '/metrics')->{body} =~ /^\Q$name\E (\S+)$/m;
    return $value;
}

sub ledgers { return join ' ', map { $_->request(GET => '/rejected')->json->{total} } @_ }

# Elections that a node has begun, those that it could not win by pre-votes left out.
sub elections {
    my $sum = 0;
    $sum += $_ for map { $_->request(GET => '/metrics')->{body} =~ /^kvnode_elections_total\{.*\} (\d+)$/mg } @_;
    return $sum;
}

# Writes one key after the other through the node, each with so many acknowledgements as are listed, until the code
# returns something true. Returns how many were not answered so.
sub write_until {
    my ($node, $acks, $code, $what) = @_;
    my ($written, $failed) = (0, 0);
    poll(sub {
            my $reply = $node->set('written-' . $written++ => 'x', query => '?ack=quorum');
            $failed++ unless $reply && $reply->{status} == 200 && $reply->header('KV-Acks') =~ m{^[$acks]/[35]$};
            return $code->();
        }, $what);
    return $failed;
}

subtest 'quorum: a leader that is cut off answers no write, and no answered write is lost' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3, -ack => 'quorum');
    my $old     = $cluster->leader;
    my @others  = others($old, @nodes);
    my @loads   = map { Cluster::Load->start($cluster, [$_]) } @nodes;
    $_->wait_for(20) for @loads;

    lose(between($old, @others));
    my @sent = map { my $connection = $old->connect; $connection->send_request(POST => '/set',
            body => text_of({ key => "cut$_", value => 'x' })); $connection } 1 .. 8;
    my $new = $cluster->leader(@others);
    my ($on_the_other_side) = map { $loads[$_] } grep { $nodes[$_] == $new } 0 .. 2;
    $on_the_other_side->wait_for(20);
    poll(sub { $old->health->{status} eq 'no_leader' }, 'the old leader to step down');
    my @late = map { $old->connect } 1 .. 2;
    $late[0]->send_request(POST => '/set', body => '{"key":"cut9","value":"x"}');
    $late[1]->send_request(GET => '/get?key=voters&consistency=linearizable');
    my @replies = map { scalar $_->response(seconds => 10) } @sent;
    is(scalar(grep { $_ && $_->{status} =~ /^50[34]$/ } @replies), 8, 'each of 8 writes at once is answered with 503 or 504');
    cmp_ok(scalar(grep { $_ && $_->{status} == 504 && $_->header('KV-Position') } @replies), '>', 0,
        'those that are in its log with 504 and their position');
    isnt($old->role, 'leader', 'it has stepped down');
    is($_->response(seconds => 10)->{status}, 503, 'a later write and a linearizable read are refused') for @late;
    is($old->value('voters'), 'x', 'a default read is answered');

    heal();
    $cluster->settle;
    is($new->role, 'leader', 'healed, the new leader stays');
    $_->wait_for(20) for @loads;
    my @records  = map { $_->stop } @loads;
    my @answered = map { $_->[0] } grep { $_->[1] == 200 } @records;
    my $end = $new->set(end => 'x');
    for my $node (@nodes) {
        my ($position) = $end->header('KV-Position');
        is($node->request(GET => '/get?key=end', headers => ["KV-After: $position"])->{status}, 200, "$node->{name} has all");
        my %there = map { $_ => 1 } @{ $node->request(GET => '/keys')->json->{keys} };
        is(join(' ', grep { !$there{$_} } @answered), '', 'each of ' . @answered . ' answered writes is there');
        is(join(' ', grep { /^cut/ } sort keys %there), '', 'none that the leader was given when it was cut off');
    }
    is(ledgers(@nodes), '0 0 0', 'no ledger has a row');
    $_->kill9, $_->start->up for $old;
    $cluster->settle;
    is(ledgers(@nodes), '0 0 0', 'nor after a restart');
    $_->stop for @nodes;
};

subtest 'followers that do not hear each other change nothing, until one of them is to lead' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3);
    my $leader  = $cluster->leader;
    my ($one, $other) = others($leader, @nodes);
    my $elections = elections(@nodes);
    my $dials     = dropped('dials');
    lose(between($one, $other));
    is(write_until($leader, '23', sub { dropped('dials') > $dials }, 'the two to have lost their connection'), 0,
        'every write meanwhile is acknowledged by a majority');
    is($leader->set(all => 'x', query => '?ack=all')->header('KV-Acks'), '3/3', 'or by all three');
    is(join(' ', map { metric($_, 'kvnode_term') } @nodes), '1 1 1', 'the term is the same');
    is(elections(@nodes), $elections, 'nobody asked for votes');
    is($_->set(through => $_->{name})->{status}, 200, "$_->{name} takes writes") for @nodes;

    $leader->kill9;
    poll(sub { ($_->health->{status} // '') eq 'no_leader' }, "$_->{name} to miss it") for $one, $other;
    is(join(' ', map { metric($_, 'kvnode_term') } $one, $other), '1 1', 'without it neither is elected');
    heal();
    my $new = $cluster->settle($one, $other);
    is($new->value('through', '&consistency=linearizable'), $nodes[-1]{name}, 'once they hear each other one leads');
    $leader->start;
    $cluster->settle;
    $_->stop for @nodes;
};

subtest 'followers that do not hear the leader, or are not heard by it, do not disturb the others' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 5);
    my $leader  = $cluster->leader;
    my ($deaf, $mute) = others($leader, @nodes);
    my $elections = elections(@nodes);
    my $dials     = dropped('dials');
    lose([$leader, $deaf], [$mute, $leader]);
    my @waiting = map { $_->connect } $deaf, $mute;
    # Nobody writes: their logs are as good as any.
    poll(sub { !grep { $_->health->{status} ne 'no_leader' } $deaf, $mute }, 'both to miss the leader');
    is(join(' ', map { metric($_, 'kvnode_term') } @nodes), '1 1 1 1 1', 'both miss the leader and get no votes');
    $_->send_request(POST => '/set', body => '{"key":"through","value":"x"}') for @waiting;
    is(write_until($leader, '345', sub { dropped('dials') > $dials }, 'the connections to have ended'), 0,
        'every write is acknowledged by the other three, also when their connections have ended');
    is($leader->get('voters', '&consistency=linearizable')->{status}, 200, 'linearizable reads go on');
    is($leader->get('voters')->header('KV-Degraded'), undef, 'the leader has its majority');
    is($_->value('voters'), 'x', 'the follower serves default reads') for $deaf, $mute;
    is($_->response(seconds => 10)->{status}, 503, 'and refuses writes') for @waiting;
    is(join(' ', map { metric($_, 'kvnode_term') } @nodes), '1 1 1 1 1', 'the term is the same');
    is(elections(@nodes), $elections, 'nobody could begin an election');
    heal();
    is($cluster->settle, $leader, 'healed, the leader is the same');
    my $last = poll(sub { my $reply = $leader->set(last => 'x', query => '?ack=all'); $reply->{status} == 200 && $reply }, 'all');
    is($last->header('KV-Acks'), '5/5', 'the followers have caught up');
    is(term($last), 1, 'in the first term');
    is(ledgers(@nodes), '0 0 0 0 0', 'nothing was overruled');
    $_->stop for @nodes;
};

# Four groups at once, those of one way on the same addresses.
subtest 'a leader that speaks but does not hear, or hears but is not heard, is replaced, once' => sub {
    my @groups = map { my $mode = $_; map { { mode => $mode, way => $_, cluster => Cluster->new } } qw(deaf mute) } qw(async quorum);
    $_->{nodes} = [start_apart($_->{cluster}, $_->{way} eq 'deaf' ? 1 : 2, 3, -ack => $_->{mode})] for @groups;
    for my $group (@groups) {
        all_vote(@{ $group->{nodes} });
        $group->{old}    = $group->{cluster}->leader;
        $group->{others} = [others($group->{old}, @{ $group->{nodes} })];
    }
    lose(map { my $group = $_; map { $group->{way} eq 'deaf' ? [$_, $group->{old}, 'data'] : [$group->{old}, $_] } @{ $group->{others} } } @groups);
    my ($from, $dials) = (time, dropped('dials'));
    for my $group (@groups) {
        $group->{waiting} = $group->{old}->connect;
        $group->{waiting}->send_request(POST => '/set', body => '{"key":"late","value":"x"}');
    }
    $_->{new} = $_->{cluster}->leader(@{ $_->{others} }) for @groups;
    is(dropped('dials'), $dials, 'each group has a new leader while the connections still stand');
    for my $group (@groups) {
        $group->{first} = poll(sub { my $reply = $group->{others}[0]->set(first => 'x'); $reply->{status} == 200 && $reply },
            'a write');
    }
    diag sprintf '%.0f ms to a written key in each of four groups', 1000 * (time - $from);
    for my $group (@groups) {
        my ($old, $new, $first) = @$group{qw(old new first)};
        subtest "$group->{mode}, $group->{way}" => sub {
            my $late;
            is(write_until($new, '23', sub { $late //= $group->{waiting}->response(seconds => 0.05) }, 'an answer'), 0,
                'the new leader answers every write');
            $group->{answer} = $late->{status};
            like($group->{answer}, $group->{mode} eq 'quorum' ? qr/^50[34]$/ : qr/^(?:200|50[34])$/,
                "the write through the old one is answered with $group->{answer}");
            is(join(' ', map { metric($_, 'kvnode_term') } @{ $group->{others} }), join(' ', (term($first)) x 2), 'in one term');
        };
    }
    heal();
    for my $group (@groups) {
        my ($old, $new, $first) = @$group{qw(old new first)};
        subtest "$group->{mode}, $group->{way}, healed" => sub {
            is($group->{cluster}->settle, $new, 'it still leads');
            my $last = $new->set(last => 'x');
            is(term($last), term($first), 'in the same term');
            poll(sub { ($_->value('last') // '') eq 'x' }, "the writes on $_->{name}") for @{ $group->{nodes} };
            my $there = ($new->value('late', '&consistency=linearizable') // '') eq 'x';
            my $kept  = grep { $_->{key} eq 'late' } @{ $old->request(GET => '/rejected')->json->{rejected} };
            ok($group->{answer} != 200 || $there || $kept,
                'the write through the old one is ' . ($there ? 'there' : $kept ? 'kept' : 'gone'));
            is(ledgers(@{ $group->{others} }), '0 0', 'the others have an empty ledger');
            is(ledgers($old), 0, 'so has the old one') if $group->{mode} eq 'quorum';
            $_->stop for @{ $group->{nodes} };
        };
    }
};

finish();
