# A disk that cannot read a part of the log back: the node stays up, what it holds in memory takes the part's place, and
# the member that asked for it gets that.
use strict;
use warnings;
use Errno qw(EIO);
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

my $keys = 58;    # of nearly 1 MiB each: more than the segments that stay in memory, less than calls for a snapshot

sub value { return substr("$_[0] " x 500_000, 0, 1_000_000) }

sub counter {
    my ($node, $name) = @_;
    return $node->request(GET => '/metrics')->{body} =~ /^$name ([0-9]+)$/m ? $1 : -1;
}

my $cluster = Cluster->new;
my $leader = $cluster->node(leader => 1, disk => Cluster::Disk->new($cluster));
$leader->start;
$cluster->settle;
is($leader->set("k$_" => value($_))->{status}, 200, "write $_") for 1 .. $keys;
is(counter($leader, 'kvnode_damaged_files_total'), 0, 'nothing is damaged');
$leader->{disk}->order(fail => 'read', 'log-', EIO);
my $follower = $cluster->node;
$follower->start;
Cluster::poll(sub { ($follower->value("k$keys") // '') eq value($keys) }, 'the follower has the last key', 60);
ok(!$leader->{disk}->waits('fail'), 'a read of the log has failed');
is($follower->value("k$_"), value($_), "key $_ is there") for 1, $keys / 2;
ok($leader->running, 'the leader runs');
like($leader->log, qr/log-\w+: a segment of the log is damaged on the disk/, 'its log names the file');
Cluster::poll(sub { counter($leader, 'kvnode_mended_files_total') == 1 }, 'it is mended', 60);
is(counter($leader, 'kvnode_damaged_files_total'), 1, 'and counted');
is($leader->health->{status}, 'healthy', 'the leader is healthy again');
$leader->kill9;
$leader->start->up;
Cluster::poll(sub { ($leader->value("k$_") // '') eq value($_) }, "key $_ is there after a restart") for 1, $keys;
$_->stop for $leader, $follower;
done_testing;
