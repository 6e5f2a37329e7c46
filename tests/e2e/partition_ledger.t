# The ledger of rejected writes where links are cut: a leader that is alone goes on answering, the others elect another
# one, and when the links are healed the ledger holds exactly what was overruled, whenever a kill -9 comes.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster::Links;
use Cluster;

my $kvctl = Cluster::binary('kvctl');

sub kvctl {
    my ($node, @args) = @_;
    return run([$kvctl, '--server', "$node->{bind}:$node->{api}", @args]);
}

sub rows {
    my ($node) = @_;
    my $reply = $node->request(GET => '/rejected') or return;
    return @{ $reply->json->{rejected} };
}

sub in_state { my ($node, $state) = @_; return grep { $_->{state} eq $state } rows($node) }

sub metric {
    my ($node, $name) = @_;
    my ($value) = $node->request(GET => '/metrics')->{body} =~ /^\Q$name\E (\S+)$/m;
    return $value;
}

sub term { my ($reply) = @_; return ($reply->header('ETag') =~ /^"(\d+)\./)[0] }

sub others { my ($node, @nodes) = @_; return grep { $_ != $node } @nodes }

# Keys written at once on one connection; all must be answered with 200.
sub write_all {
    my ($node, @keys) = @_;
    my $connection = $node->connect;
    $connection->send_request(POST => '/set', body => text_of({ key => $_, value => "value of $_" })) for @keys;
    return is(scalar(grep { my $reply = $connection->response; $reply && $reply->{status} == 200 } @keys), scalar @keys,
        scalar(@keys) . ' writes are answered by the leader that is cut off');
}

# The leader of the group is cut off from the others. Returns it and the one that the others elect.
sub cut_off {
    my ($cluster, @nodes) = @_;
    my $old = $cluster->leader;
    lose(between($old, others($old, @nodes)));
    return $old;
}

subtest 'a leader that is cut off goes on; what it answered then is in its ledger, and nowhere else' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3);
    my $began   = int(time * 1000);
    my $old     = $cluster->leader;
    my @others  = others($old, @nodes);
    is($old->set(kept => 'before', query => '?ack=all')->{status}, 200, 'a write while all is well');
    is(scalar rows($_), 0, "the ledger of $_->{name} is empty") for @nodes;

    lose(between($old, @others));
    is($old->set(first => 'of the old')->{status}, 200, 'a write is answered by the leader that is cut off');
    poll(sub { $old->health->{status} eq 'degraded' }, 'the old leader to see that it is alone');
    my $new  = $cluster->leader(@others);
    my $next = $new->set(first => 'of the new');
    is($next->{status}, 200, 'one of the others leads and answers writes');
    my $last = $old->set(last => "with \0 in it");
    is($last->{status} . ' ' . $last->header('KV-Degraded'), '200 no-majority', 'the old one still does, and says how');
    is($old->delete('kept')->{status}, 200, 'a delete too');
    is($old->set(kept_not => 'x', headers => ['If-None-Match: *'])->{status}, 200, 'and a conditional write');
    is($old->role, 'leader', 'it leads on its side');
    cmp_ok(term($next), '>', term($last), 'the new one in a later term');
    is($old->value('first') . ', ' . $new->value('first'), 'of the old, of the new', 'each shows its own writes');
    is($old->set(strict => 'x', query => '?ack=quorum')->{status}, 503, 'a write that wants a majority is refused');
    is(scalar rows($_), 0, "nothing is in the ledger of $_->{name} yet") for @nodes;
    cmp_ok(dropped($_), '>', 0, "packets were lost: $_") for qw(tcp udp);

    heal();
    is($cluster->settle, $new, 'healed, the new leader stays');
    is($old->role, 'follower', 'the old one follows');
    poll(sub { in_state($old, 'rejected') == 4 }, 'four rejected writes');
    my @rows = rows($old);
    is(join(' ', map { "$_->{operation}:$_->{key}" } @rows), 'set:first set:last delete:kept set:kept_not', 'the writes');
    is($rows[0]{value}, 'of the old', 'with their values');
    is($rows[1]{value}, "with \0 in it", 'whole');
    is($rows[3]{if_none_match}, '*', 'and conditions');
    is(join(' ', map { $_->{answered} } @rows), 'yes yes yes yes', 'all had been answered');
    is($rows[1]{position}, '0:' . ($last->header('ETag') =~ /"(.*)"/)[0], 'the position is the one that was answered');
    is(join(' ', map { $_->{by_term} } @rows), join(' ', (term($next)) x 4), 'the new leader\'s term overruled them');
    cmp_ok($rows[0]{recorded_ms}, '>=', $began, 'when');
    is($old->health->{rejected}, 4, 'GET /health counts them');
    is(metric($old, 'kvnode_rejected_writes{state="rejected"}'), 4, 'so do the metrics');
    is(metric($old, 'kvnode_rejected_writes{state="overruled"}'), 0, 'none is undecided');
    is(scalar(() = $old->events('writes_overruled')), 1, 'the log says so');
    for my $node (@nodes) {
        is(poll(sub { my $value = $node->value('first'); $value eq 'of the new' && $value }, 'the write that stands'),
            'of the new', "$node->{name} has the write that stands");
        is($node->value('kept'), 'before', 'the delete has not happened');
        is($node->get($_)->{status}, 404, "$_ is not there") for qw(last kept_not);
        next if $node == $old;
        is(scalar rows($node), 0, 'its own ledger is empty');
        ok(!exists $node->health->{rejected}, 'and not named by its /health');
    }

    my $before = text_of(\@rows);
    for (1 .. 2) {
        $old->kill9;
        $old->start->up;
        is(text_of([rows($old)]), $before, 'the rows survive kill -9');
    }
    $cluster->settle;

    my ($first, $lost, $kept, $not) = map { $_->{position} } @rows;
    my ($status, $out) = kvctl($old, qw(rejected apply), $lost);
    is("$status $out", "0 applied $lost\ndropped $lost\n", 'one is applied');
    for my $node (@nodes) {
        is(poll(sub { $node->value('last') }, 'the write'), "with \0 in it", "and is there on $node->{name}");
    }
    ($status, $out) = kvctl($old, qw(rejected apply --if-absent), $first);
    is($status, 5, 'what was overruled by another value is not written over it with --if-absent');
    ($status, $out) = kvctl($old, qw(rejected drop), $first);
    is("$status $out", "0 dropped $first\n", 'it is dropped');
    is($_->value('first'), 'of the new', 'which changes nothing') for @nodes;
    ($status, $out) = kvctl($old, qw(rejected drop all));
    is("$status $out", "0 dropped $kept\ndropped $not\n", 'so are the others');
    $old->kill9;
    $old->start->up;
    is(scalar rows($old), 0, 'nothing comes back');
    is($new->value('kept'), 'before', 'and nothing was done');
    $_->stop for @nodes;
};

# A group whose leader was cut off and wrote two keys, while the other two agreed on one that has had nothing acknowledged:
# what passed between them never passed both ways at once. In the same way the old leader heard of the new one, and what
# it answered did not arrive. Returns the group and the old leader, or nothing where that took so long that a connection
# ended.
sub overruled_only {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3);
    my $old     = $cluster->leader;
    my @others  = others($old, @nodes);
    my @apart   = between($old, @others);
    lose(@apart);
    write_all($old, 'a', 'b');
    my $new = one_way_at_a_time(@others, sub { (grep { $_->role eq 'leader' } @others)[0] }, @apart);
    if ($new) {
        my ($next) = others($new, @others);
        one_way_at_a_time($new, $old, sub { scalar rows($old) }, between($next, $old, $new));
        lose(@apart, between(@others));
        return ($cluster, $old)
            if rows($old) && metric($new, 'kvnode_commit_index') < metric($new, 'kvnode_log_last_index');
    }
    heal();
    $_->kill9 for @nodes;
    return;
}

subtest 'a row is overruled until the entry in its place is committed, then rejected' => sub {
    my ($cluster, $old) = @{ poll(sub { my @made = overruled_only(); @made && \@made }, 'rows that are only overruled', 60) };
    my $rows = sub { join ' ', map { "$_->{key}:$_->{state}:$_->{answered}" } rows($old) };
    my $expected = sub { my ($state) = @_; join ' ', map { "$_:$state:yes" } qw(a b) };
    is($rows->(), $expected->('overruled'), 'overruled');
    is(metric($old, 'kvnode_rejected_writes{state="overruled"}'), 2, 'by the metrics too');
    is($old->get($_)->{status}, 404, "$_ is out of the store already") for qw(a b);
    is($old->health->{rejected}, 2, '/health counts them');
    $old->kill9;
    $old->start->up;
    is($rows->(), $expected->('overruled'), 'kill -9 leaves them so');

    heal();
    $cluster->settle;
    poll(sub { in_state($old, 'rejected') == 2 }, 'the rows to be rejected');
    is($rows->(), $expected->('rejected'), 'healed, they are rejected');
    is(metric($old, 'kvnode_rejected_writes{state="overruled"}'), 0, 'none is undecided any more');
    $_->stop for @{ $cluster->{nodes} };
};

subtest 'kill -9 while the links are being healed loses no row and makes none' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3);
    my @moments = (
        ['before they are'        => undef],
        ['at once'                => sub { 1 }],
        ['when the file grows'    => sub { -s "$_[0]{data}/rejected" }],
        ['when it is overruled'   => sub { $_[0]->events('writes_overruled') }],
        ['when it follows'        => sub { $_[0]->role eq 'follower' }],
        ['when a row is rejected' => sub { in_state($_[0], 'rejected') }],
    );
    for my $round (0 .. $#moments) {
        my ($name, $moment) = @{ $moments[$round] };
        my $old = cut_off($cluster, @nodes);
        my @keys = map { "round$round-$_" } 1 .. 60;
        write_all($old, @keys);
        my @others = others($old, @nodes);
        my $new = $cluster->leader(@others);
        is($new->set(standing => $round, query => '?ack=quorum')->{status}, 200, 'the others go on');
        if ($moment) {
            heal();
            my $until = time + $Cluster::patience;
            until ($moment->($old)) {
                die "waited in vain for the moment '$name'" if time > $until;
            }
        }
        $old->kill9;
        heal();
        $old->start->up;
        $cluster->settle;
        poll(sub { in_state($old, 'rejected') == @keys }, 'the rows to be rejected');
        my @rows = rows($old);
        is(join(' ', map { $_->{key} } @rows), join(' ', @keys), "killed $name: each is there, once");
        is(scalar(grep { $_->{value} eq "value of $_->{key}" } @rows), @keys, 'with its value');
        like(join(' ', map { $_->{answered} } @rows), qr/^(?:yes|unknown)(?: (?:yes|unknown))*$/, 'answered or unknown');
        is(join(' ', map { $_->{name} } grep { rows($_) } @others), '', 'no other ledger has any');
        for my $node (@nodes) {
            poll(sub { ($node->value('standing') // '') eq $round }, 'the write that stands');
            my $keys = $node->request(GET => "/keys?prefix=round$round-")->json;
            is($keys->{count}, 0, "none is on $node->{name}");
        }
        my ($status) = kvctl($old, qw(rejected drop all));
        is($status, 0, 'they are dropped');
        is(scalar rows($old), 0, 'all of them');
    }
    $_->stop for @nodes;
};

subtest 'the ledger holds what two terms overruled, one after the other' => sub {
    my $cluster = Cluster->new;
    my @nodes   = nodes_apart($cluster, 3);
    my $old     = $cluster->leader;
    my (@terms, @keys);
    for my $round (1, 2) {
        poll(sub { $old->set(own => 'term', query => '?ack=quorum')->{status} == 200 }, 'a write');
        is(cut_off($cluster, @nodes), $old, "$old->{name} is cut off");
        my @new = map { "term$round-$_" } 1 .. 3;
        push @keys, @new;
        write_all($old, @new);
        my $reply = $cluster->leader(others($old, @nodes))->set(overruling => $round, query => '?ack=quorum');
        is($reply->{status}, 200, 'the others go on');
        push @terms, (term($reply)) x 3;
        heal();
        $cluster->settle;
        poll(sub { in_state($old, 'rejected') == @keys }, 'the rows');
        next if $round == 2;
        my $id = $old->id;
        poll(sub {
                my ($status) = kvctl($nodes[0], qw(cluster transfer), $id);
                $old->role eq 'leader';
            }, 'the old leader to lead again');
    }
    my @rows = rows($old);
    is(join(' ', map { $_->{key} } @rows), join(' ', @keys), 'all of both');
    is(join(' ', map { $_->{by_term} } @rows), join(' ', @terms), 'each with the term that overruled it');
    my @stood = map { ($_->{position} =~ /^0:(\d+)\./)[0] } @rows;
    cmp_ok($stood[0], '<', $stood[3], 'they stood in two terms');
    cmp_ok($stood[3], '>', $terms[0], 'the second behind the one that overruled the first');
    my $before = text_of(\@rows);
    $old->kill9;
    $old->start->up;
    is(text_of([rows($old)]), $before, 'kill -9 leaves them');
    $cluster->settle;
    my ($status, $out) = kvctl($old, qw(rejected apply all));
    is($status, 0, 'all are applied');
    for my $node (@nodes) {
        poll(sub { $node->request(GET => '/keys?prefix=term')->json->{count} == @keys }, "the writes on $node->{name}");
    }
    is(scalar rows($old), 0, 'and gone from the ledger');
    $_->stop for @nodes;
};

finish();
