# The ledger of rejected writes: what an async leader had answered and a later leader overruled is listed there, survives
# kill -9, and is written again or dropped with kvctl. In a quorum group nothing answered ever gets into it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;

my $kvctl = Cluster::binary('kvctl');

sub kvctl {
    my ($node, @args) = @_;
    return run([$kvctl, '--server', "127.0.0.1:$node->{api}", @args]);
}

sub rejected {
    my ($node, $query) = @_;
    my $reply = $node->request(GET => '/rejected' . ($query // '')) or return;
    return $reply->{status} == 200 ? $reply->json : undef;
}

sub rows { @{ (rejected($_[0]) // die 'no ledger')->{rejected} } }

# Three voters; then the leader alone, which notices it.
sub alone {
    my ($cluster, @args) = @_;
    my @nodes = $cluster->start(3, @args);
    my $leader = $cluster->leader;
    $leader->set(kept => 'before');
    poll(sub { ($leader->set(voters => 'x', query => '?ack=all')->header('KV-Acks') // '') eq '3/3' }, 'three voters');
    my @others = grep { $_ != $leader } @nodes;
    $_->kill9 for @others;
    poll(sub { $leader->health->{status} ne 'healthy' }, 'the leader to notice');
    return ($leader, @others);
}

my $cluster = Cluster->new;
my ($old, @others) = alone($cluster);
my $began = int(time * 1000);

subtest 'an empty ledger is shown as such, and /health does not name it' => sub {
    is($old->request(GET => '/rejected')->{body}, '{"rejected":[],"count":0,"total":0}', 'GET /rejected');
    ok(!exists $old->health->{rejected}, 'GET /health');
    is(join(' ', kvctl($old, qw(rejected list))), '0  ', 'kvctl rejected list');
    my ($status, undef, $error) = kvctl($old, qw(rejected drop 0:1.1));
    is($status, 4, 'a row that is not there cannot be dropped');
    like($error, qr/no row at 0:1\.1/, 'and that is said');
};

is($old->set(lost => "a \"value\" with \0 in it")->{status}, 200, 'a write is answered by the leader alone');
is($old->delete('kept')->{status}, 200, 'so is a delete');
is($old->set(third => 'three', headers => ['If-None-Match: *'])->{status}, 200, 'and a conditional write');
$old->signal('STOP');
$_->start for @others;
my $new = $cluster->settle(@others);
is($new->set(overruling => 'write')->{status}, 200, 'a new leader goes on without them');

$old->signal('CONT');
$cluster->settle;
poll(sub { grep({ $_->{state} eq 'rejected' } rows($old)) == 3 }, 'the writes to be rejected');

subtest 'the old leader lists them, with all that is known' => sub {
    my @rows = rows($old);
    my ($lost, $kept, $third) = @rows;
    is($lost->{key}, 'lost', 'the key');
    is($lost->{value}, "a \"value\" with \0 in it", 'the value, whole');
    is($lost->{operation}, 'set', 'the operation');
    like($lost->{position}, qr/^0:1\.\d+$/, 'the position');
    is($lost->{answered}, 'yes', 'it had been answered');
    cmp_ok($lost->{by_term}, '>', 1, 'the term that overruled it');
    cmp_ok($lost->{recorded_ms}, '>=', $began, 'when it was recorded');
    is("$kept->{key} $kept->{operation}", 'kept delete', 'a delete');
    ok(!exists $kept->{value}, 'without a value');
    is($third->{if_none_match}, '*', 'a condition is shown');
    is($old->health->{rejected}, 3, 'GET /health counts them');
    like($old->request(GET => '/metrics')->{body}, qr/^kvnode_rejected_writes\{state="rejected"\} 3$/m, 'so do the metrics');
    is(scalar(() = $old->events('writes_overruled')), 1, 'the log says so');
    is(scalar rows($_), 0, 'the others have none') for @others;
    for my $node ($old, @others) {
        is($node->get('lost')->{status}, 404, "the write is nowhere on $node->{name}");
        is(poll(sub { $node->value('kept') }, 'the key'), 'before', 'nor has the delete happened');
    }
};

subtest 'a long ledger comes in pages' => sub {
    my $page = rejected($old, '?limit=2');
    is(join(' ', map { $_->{key} } @{ $page->{rejected} }), 'lost kept', 'the first two');
    is("$page->{count} of $page->{total}", '2 of 3', 'of three');
    $page = rejected($old, "?after=$page->{next}");
    is(join(' ', map { $_->{key} } @{ $page->{rejected} }), 'third', 'then the last');
    ok(!exists $page->{next}, 'and no more');
    is($old->request(GET => '/rejected?after=nonsense')->{status}, 400, 'no position');
    is($old->request(GET => '/rejected?after=7:1.1')->{status}, 400, 'of another group');
    my ($status, $out) = kvctl($old, qw(rejected list));
    is($status, 0, 'kvctl rejected list');
    is(scalar(() = $out =~ /^0:1\.\d+ +rejected +yes /mg), 3, 'shows three');
    like($out, qr/ set "lost" "a \\"value\\" with \\u0000 in it"$/m, 'with what was written, escaped');
    like($out, qr/ delete "kept"$/m, 'and what was deleted');
};

subtest 'they survive kill -9' => sub {
    my $before = text_of([rows($old)]);
    for (1 .. 2) {
        $old->kill9;
        $old->start->up;
        $cluster->settle;
        is(text_of([rows($old)]), $before, 'the same rows');
    }
};

subtest 'applied, they are new writes, and leave the ledger for good' => sub {
    my ($lost, $kept, $third) = map { $_->{position} } rows($old);
    my ($status, $out) = kvctl($old, 'rejected', 'apply', $lost);
    is("$status $out", "0 applied $lost\ndropped $lost\n", 'one is applied');
    for my $node ($old, @others) {
        is(poll(sub { $node->value('lost') }, 'the write'), "a \"value\" with \0 in it", "and is there on $node->{name}");
    }
    is(scalar rows($old), 2, 'its row is gone');
    $new->set(third => 'another');
    my $error;
    ($status, $out, $error) = kvctl($old, qw(rejected apply --if-absent), $third);
    is($status, 5, 'a key that is there is not overwritten with --if-absent');
    is(scalar rows($old), 2, 'and the row stays');
    ($status, $out) = kvctl($old, qw(rejected drop), $third);
    is("$status $out", "0 dropped $third\n", 'another is dropped');
    is($new->value('third'), 'another', 'which changes nothing else');
    ($status, $out) = kvctl($old, qw(rejected apply all));
    is("$status $out", "0 applied $kept\ndropped $kept\n", 'all that are left');
    poll(sub { $_->get('kept')->{status} == 404 }, 'the delete') for $old, @others;
    ok(!exists $old->health->{rejected}, '/health names the ledger no more');
    $old->kill9;
    $old->start->up;
    is(scalar rows($old), 0, 'nothing comes back');
};

subtest 'POST /rejected/drop refuses what it does not understand' => sub {
    my %cases = ('{"position":"0:9.9"}' => 404, '{"position":"x"}' => 400, '{}' => 400, '{"position":1}' => 400,
        '{"position":"0:1.1","x":1}' => 400, '' => 400);
    is($old->request(POST => '/rejected/drop', body => $_)->{status}, $cases{$_}, $_) for sort keys %cases;
    is($old->request(GET => '/rejected/drop')->{status}, 405, 'GET');
};
$_->stop for $old, @others;

subtest 'a leader that was killed no longer knows whether it had answered, and says so' => sub {
    my $killed = Cluster->new;
    my ($leader, @rest) = alone($killed);
    is($leader->set(lost => 'x')->{status}, 200, 'a write is answered by the leader alone');
    $leader->kill9;
    $_->start for @rest;
    is($killed->settle(@rest)->set(overruling => 'write')->{status}, 200, 'a new leader goes on without it');
    $leader->start->up;
    my ($row) = @{ poll(sub { my @rows = rows($leader); @rows && \@rows }, 'the row') };
    is("$row->{key} $row->{answered}", 'lost unknown', 'the row');
    $_->stop for $leader, @rest;
};

subtest 'in a quorum group nothing answered is lost, and the ledger stays empty' => sub {
    my $quorum = Cluster->new;
    my ($leader, @rest) = alone($quorum, -ack => 'quorum');
    my $reply = $leader->set(lost => 'x', seconds => 10);
    isnt($reply && $reply->{status}, 200, 'the leader alone does not answer a write');
    $leader->kill9;
    $_->start for @rest;
    my $next = $quorum->settle(@rest);
    is($next->set(overruling => 'write')->{status}, 200, 'a new leader goes on');
    $leader->start;
    $quorum->settle;
    poll(sub { ($leader->value('overruling') // '') eq 'write' }, 'the old leader to follow');
    is(scalar rows($_), 0, "the ledger of $_->{name}") for $leader, @rest;
    $_->stop for $leader, @rest;
};

finish();
