# Clients that take all they can get, or are merely slow: they cost the others nothing.
use strict;
use warnings;
use FindBin;
use Socket qw(PF_INET SOCK_STREAM SOL_SOCKET SO_RCVBUF inet_aton pack_sockaddr_in);
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use POSIX ();
use Cluster;
use Cluster::Need;

my $idle_count = 10_000;
my $idle_bytes = 4096;    # of the node's memory for each idle connection, at most
my $latency    = 0.25;    # seconds: the median of requests meanwhile, at most; machines are slow
my $ticks      = POSIX::sysconf(POSIX::_SC_CLK_TCK());

# Seconds of processor time that the node has had.
sub cpu {
    my ($node) = @_;
    my ($rest) = Cluster::slurp("/proc/$node->{pid}/stat") =~ /\) (.*)/s;
    my @field = split ' ', $rest;
    return ($field[11] + $field[12]) / $ticks;
}

# Resident bytes.
sub resident {
    my ($node) = @_;
    my ($kib) = Cluster::slurp("/proc/$node->{pid}/status") =~ /VmRSS:\s+(\d+)/;
    return $kib * 1024;
}

sub descriptors { scalar(() = glob "/proc/$_[0]{pid}/fd/*") }

# A part of a processor that the node takes while nobody asks it anything.
sub load_of {
    my ($node, $seconds) = @_;
    my ($from, $before) = (time, cpu($node));
    pause($seconds);
    return (cpu($node) - $before) / (time - $from);
}

# A bare connection to the API, or to another port.
sub open_socket {
    my ($node, $port) = @_;
    socket my $socket, PF_INET, SOCK_STREAM, 0 or return;
    return connect($socket, pack_sockaddr_in($port // $node->{api}, inet_aton($node->{bind}))) ? $socket : undef;
}

# Median time of a write and a read on a connection that is kept; every answer must be right.
sub served {
    my ($node, $name, $connection) = @_;
    $connection //= $node->connect;
    my (@took, $wrong);
    for my $i (1 .. 50) {
        my $from = time;
        $connection->send_request(POST => '/set', body => qq({"key":"quick","value":"$i"}));
        my $set = $connection->response(seconds => 10);
        $connection->send_request(GET => '/get?key=quick');
        my $get = $connection->response(seconds => 10);
        push @took, (time - $from) / 2;
        $wrong //= $i unless $set && $get && $set->{status} == 200 && $get->{status} == 200 && $get->json->{value} eq $i;
    }
    is($wrong, undef, "$name: every request is answered");
    cmp_ok(median(@took), '<', $latency, sprintf "$name: in %.2f ms", median(@took) * 1000);
    return median(@took);
}

# A new client, on a connection of its own, within a few seconds.
sub newcomer_is_served {
    my ($node, $name) = @_;
    ok(poll(sub {
            my $reply = eval { $node->request(GET => '/health', seconds => 2) };
            $reply && $reply->{status} == 200;
        }, "$name", 10), $name);
}

# Descriptors that this process may open.
sub limit { (Cluster::slurp('/proc/self/limits') =~ /Max open files\s+(\d+)/) ? $1 : 0 }

# Perl cannot raise its own limit: the test runs itself again under a shell that does.
BEGIN {
    if (!$ENV{KVNODE_LIMIT_RAISED}) {
        $ENV{KVNODE_LIMIT_RAISED} = 1;
        exec 'sh', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@"', 'sh', $^X, $0, @ARGV;
    }
}

subtest '10,000 idle connections cost little memory and nobody time' => sub {
    my $limit = limit();
    need($limit >= $idle_count + 1000, "$limit descriptors may be open here");
    my $cluster = Cluster->new;
    my ($node) = $cluster->start(1);
    my $kept = $node->connect;
    my $before = resident($node);
    my @idle;
    my $from = time;
    while (@idle < $idle_count) {
        push @idle, open_socket($node) // last;
    }
    is(scalar @idle, $idle_count, sprintf 'they are taken, in %.1f s', time - $from);
    poll(sub { descriptors($node) >= $idle_count - 100 }, 'the node to accept them');
    my $each = (resident($node) - $before) / $idle_count;
    cmp_ok($each, '<', $idle_bytes, sprintf 'each takes %d bytes of memory', $each);
    served($node, 'a client from before them', $kept);
    pause(1);
    newcomer_is_served($node, 'a new client takes the place of an idle one');
    served($node, 'a new client');
    my $part = load_of($node, 2);
    cmp_ok($part, '<', 0.2, sprintf 'the node takes %.1f %% of a processor', $part * 100);
    my $alive = grep { my $bits = ''; vec($bits, fileno $_, 1) = 1; !select $bits, undef, undef, 0 } @idle;
    cmp_ok($alive, '>', $idle_count - 200, "$alive of them are left alone");
    close $_ for @idle;
    poll(sub { descriptors($node) < 100 }, 'the node to close them');
    pass('their descriptors are given back');
    $node->kill9;
};

subtest 'slow clients wait for themselves alone' => sub {
    my $cluster = Cluster->new;
    my ($node, $follower) = $cluster->start(2);
    my $large = 'x' x 500_000;
    is($node->set(large => $large)->{status}, 200, 'a large value is there');
    my $host = "Host: localhost\r\n";
    my $half = "POST /set HTTP/1.1\r\n${host}Content-Type: application/json\r\n";
    my $from = time;
    my %late = ('half a line' => 'GET /health HT', 'half a head' => "GET /health HTTP/1.1\r\nHost: loc", 'no body' => $half);
    for my $text (values %late) {
        my $connection = $node->connect;
        $connection->send($text);
        $text = $connection;
    }
    my (@heads, @slow);
    for my $i (1 .. 200) {
        my $head = $node->connect or next;
        $head->send('GET /get?key=quick HT');
        my $body = open_socket($node) or next;
        syswrite $body, $half . "Content-Length: 1000\r\n\r\n{\"key\":";
        push @heads, $head;
        push @slow, $body;
    }
    # They ask for much and read nothing.
    my @deaf = map { open_socket($node) // () } 1 .. 20;
    for my $deaf (@deaf) {
        setsockopt $deaf, SOL_SOCKET, SO_RCVBUF, 4096;
        syswrite $deaf, "GET /get?key=large HTTP/1.1\r\n$host\r\n" x 200;
    }
    is(@heads + @slow + @deaf, 420, 'slow clients are connected');
    served($node, 'a quick client');
    my $asked = time;
    is($follower->set("follower-$_" => $_)->{status}, 200, "write $_ through a follower") for 1 .. 5;
    cmp_ok(time - $asked, '<', 5, 'promptly');
    my $answered = 0;
    for my $head (@heads[0 .. 99]) {
        $head->send("TP/1.1\r\n$host\r\n");
        my $reply = $head->response(seconds => 10);
        $answered++ if $reply && $reply->{status} == 200;
    }
    is($answered, 100, 'those that go on are answered');
    my $part = load_of($node, 2);
    cmp_ok($part, '<', 0.2, sprintf 'the node takes %.1f %% of a processor', $part * 100);
    my $memory = resident($node);
    cmp_ok($memory, '<', 300e6, sprintf 'and %d MB of memory', $memory / 1e6);
    undef @deaf;
    is($node->set(large => '')->{status}, 200, 'it serves after the deaf are gone, too');
    for my $name (sort keys %late) {
        my $reply = $late{$name}->response(seconds => 40);
        is($reply && $reply->{status}, 408, "$name is told so");
        is($reply && $reply->json->{error}, 'timeout', 'by the name of the error');
        is($reply && $reply->header('Connection'), 'close', 'and that it is the last answer');
        is($late{$name}->rest(10), '', 'and the connection ends');
    }
    my $took = time - $from;
    cmp_ok($took, '>', 9, sprintf 'after %.1f s', $took);
    $_->kill9 for $follower, $node;
};

subtest 'an exhausted table of descriptors' => sub {
    my $cluster = Cluster->new;
    my $node = $cluster->node(leader => 1);
    my @command = $node->command;
    {    # Of a shell, since the node itself raises its soft limit to the hard one.
        no warnings 'redefine';
        local *Cluster::Node::command = sub { ('/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh', @command) };
        $node->start;
    }
    $cluster->settle;
    my $kept = $node->connect;
    served($node, 'a client before', $kept);
    # More than there are descriptors; again and again, since the node closes idle ones to make room.
    my @crowd = map { open_socket($node) // () } 1 .. 200;
    cmp_ok(scalar @crowd, '>', 100, 'more clients than descriptors try');
    cmp_ok(descriptors($node), '<', 64, descriptors($node) . ' descriptors are open');
    served($node, 'a client from before', $kept);
    my $part = load_of($node, 2);
    cmp_ok($part, '<', 0.2, sprintf 'the node takes %.1f %% of a processor', $part * 100);
    newcomer_is_served($node, 'a new client takes the place of an idle one');
    my $value = 'v' x 900_000;
    my @status = map { my $reply = $node->set("large-$_" => $value, seconds => 20); $reply ? $reply->{status} : 0 } 1 .. 40;
    is(scalar(grep { $_ != 200 } @status), 0, 'new segments of the log still find a descriptor');
    ok($node->running, 'the node runs');
    close $_ for @crowd;
    newcomer_is_served($node, 'afterwards all is as before');
    is($node->set(k => 'v')->{status}, 200, 'writes included');
    is($node->stop, 0, 'it stops');
};

subtest 'strangers on the cluster port' => sub {
    my $cluster = Cluster->new;
    my @nodes = $cluster->start(3);
    my @strangers = map { open_socket($nodes[0], $nodes[0]{port}) // () } 1 .. 300;
    syswrite $_, 'KVNP' for @strangers[0 .. 99];    # half a hello; the others say nothing
    is($nodes[1]->set(k => 'v', query => '?ack=all')->{status}, 200, 'the group goes on');
    served($nodes[0], 'a client of the same node');
    my $part = load_of($nodes[0], 2);
    cmp_ok($part, '<', 0.3, sprintf 'the node takes %.1f %% of a processor', $part * 100);
    poll(sub { descriptors($nodes[0]) < 100 }, 'the strangers to be closed');
    pass('who says no hello in time is closed');
    $_->kill9 for @nodes;
};

finish();
