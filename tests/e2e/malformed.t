# What is wrong, forged or garbage, at any port: nothing is read in two ways, and nothing ends the node.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Socket::INET;
use Socket;
use Test::More;
use Cluster;

my $cluster = Cluster->new;
my ($node, $follower) = $cluster->start(2, '-memory');
my $host = "Host: localhost\r\n";
my $json = "Content-Type: application/json\r\n";
$node->set(smuggled => 'no');

# Sends bytes; the answers up to the end of the connection, or to the silence of an open one.
sub answers {
    my ($bytes) = @_;
    my $connection = $node->connect or die 'cannot connect';
    $connection->send($bytes);
    shutdown $connection->{socket}, 1;
    my $text = $connection->rest;
    defined $text or die 'the connection was not closed';
    return $text;
}

sub statuses { join ' ', $_[0] =~ m{^HTTP/1\.1 (\d{3}) }mg }

sub serves {
    my ($name) = @_;
    is($node->value('smuggled'), 'no', "$name: the node goes on, and nothing was smuggled in");
}

subtest 'a request that could be read in two ways is refused, and nothing behind it is read' => sub {
    my $inner = '{"key":"smuggled","value":"yes"}';
    my $behind = "POST /set HTTP/1.1\r\n$host${json}Content-Length: " . length($inner) . "\r\n\r\n$inner";
    my %bad = (
        'two lengths' => "POST /set HTTP/1.1\r\n$host${json}Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        'two equal lengths' => "POST /set HTTP/1.1\r\n$host${json}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        'a list of lengths' => "POST /set HTTP/1.1\r\n$host${json}Content-Length: 0, 0\r\n\r\n",
        'a signed length' => "POST /set HTTP/1.1\r\n$host${json}Content-Length: +0\r\n\r\n",
        'a hexadecimal length' => "POST /set HTTP/1.1\r\n$host${json}Content-Length: 0x0\r\n\r\n",
        'length and chunks' =>
            "POST /set HTTP/1.1\r\n$host${json}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        'another coding' => "POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        'chunked twice' =>
            "POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        'a chunk of 0x0' => "POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        'a chunk of +0' => "POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
        'a chunk of no size' => "POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: chunked\r\n\r\n;\r\n\r\n",
        'bare line feeds' => "GET /health HTTP/1.1\nHost: localhost\n\n",
        'a bare carriage return' => "GET /health HTTP/1.1\r\n${host}X: a\rY: b\r\n\r\n",
        'a folded line' => "GET /health HTTP/1.1\r\n${host}X: a\r\n b\r\n\r\n",
        'a space before the colon' => "GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
        'an empty name' => "GET /health HTTP/1.1\r\n$host: x\r\n\r\n",
        'no Host' => "GET /health HTTP/1.1\r\n\r\n",
        'two Hosts' => "GET /health HTTP/1.1\r\n$host$host\r\n",
        'a NUL in a header' => "GET /health HTTP/1.1\r\n${host}X: a\0b\r\n\r\n",
        'a NUL in the target' => "GET /get?key=a\0b HTTP/1.1\r\n$host\r\n",
        'a space in the target' => "GET /get?key=a b HTTP/1.1\r\n$host\r\n",
        'no version' => "GET /health\r\n$host\r\n",
        'binary' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    );
    for my $name (sort keys %bad) {
        my $text = answers($bad{$name} . $behind);
        is(statuses($text), '400', $name);
        like($text, qr/^Connection: close\r$/m, 'and the connection is closed');
    }
    serves('afterwards');
};

subtest 'heads and bodies have limits' => sub {
    is(statuses(answers("GET /health HTTP/1.1\r\n$host" . 'X: ' . 'x' x (8 << 20) . "\r\n\r\n")), 431, 'a header of 8 MB');
    is(statuses(answers("GET /health HTTP/1.1\r\n$host" . "X: y\r\n" x 1000 . "\r\n")), 431, 'a thousand headers');
    is(statuses(answers('GET /' . 'x' x 100_000 . " HTTP/1.1\r\n$host\r\n")), 431, 'a target of 100 kB');
    is(statuses(answers("POST /set HTTP/1.1\r\n$host${json}Content-Length: 99999999999999999999\r\n\r\n")) =~ /^4/, 1,
        'a length that overflows');
    is(statuses(answers("POST /set HTTP/1.1\r\n$host${json}Content-Length: 20000000\r\n\r\n")), 413, 'a body of 20 MB');
    my $chunk = "100000\r\n" . ' ' x (1 << 20) . "\r\n";
    like(statuses(answers("POST /set HTTP/1.1\r\n$host${json}Transfer-Encoding: chunked\r\n\r\n" . $chunk x 16)), qr/^413/,
        'chunks without end');
    serves('afterwards');
};

subtest 'text is never cut at NUL, and JSON is read strictly' => sub {
    $node->set('a' => 'short');
    is($node->request(GET => '/get?key=a%00b')->{status}, 404, 'a%00b is not a');
    $node->request(POST => '/set', body => '{"key":"a\u0000b","value":"x\u0000y"}');
    is($node->value("a\0b"), "x\0y", 'a\u0000b is a key of its own');
    is($node->value('a'), 'short', 'and a is what it was');
    my $bad = sub { ($node->request(POST => '/set', body => $_[0]) // { status => 'none' })->{status} };
    is($bad->($_), 400, $_) for '{"key":"a","value":"1","value":"2"}', '{"KEY":"a","value":"1"}', '{"key":"a","value":1e999}',
        '{"key":"a","value":"1"}}', "{\"key\":\"a\",\"value\":\"\x01\"}", '[' x 10000, '{"key":"a","value":"1",}', 'null',
        '{"key":"a","value":"1","extra":1}', "\xef\xbb\xbf{\"key\":\"a\",\"value\":\"1\"}";
    is($node->value('a'), 'short', 'none of them wrote');
};

subtest 'pages of other sites cannot write' => sub {
    for my $headers (["Content-Type: text/plain"], ["Content-Type: application/json", 'Origin: http://evil.example'],
        ['Content-Type: application/json', 'Host: rebound.example'])
    {
        my $reply = $node->request(POST => '/set', headers => $headers, body => '{"key":"smuggled","value":"yes"}');
        like($reply->{status}, qr/^(?:403|415)$/, join ', ', @$headers);
    }
    is($node->request(DELETE => '/delete?key=smuggled', headers => ['Origin: null'])->{status}, 403, 'a DELETE likewise');
    is($node->request(OPTIONS => '/set', headers => ['Origin: http://evil.example'])->{status}, 403, 'a preflight');
    serves('afterwards');
};

subtest 'garbage at the cluster port ends nothing' => sub {
    my @kept;
    srand 7;
    for my $round (1 .. 60) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $node->{port}, Proto => 'tcp') or next;
        my @garbage = ("GET / HTTP/1.1\r\n\r\n", "KVNP\x01\x00\xff\x7f", "\xff" x 5000, "\0" x 5000,
            join '', map { chr int rand 256 } 1 .. 5000);
        syswrite $socket, $garbage[$round % @garbage];
        push @kept, $socket if $round % 4 < 2;
    }
    is($node->set(k => 'v', query => '?ack=all')->header('KV-Acks'), '2/2', 'replication goes on');
    is($follower->set(k => 'w')->{status}, 200, 'so does passing on');
    undef @kept;
    serves('afterwards');
};

subtest 'garbage at the discovery port ends nothing' => sub {
    my $socket = IO::Socket::INET->new(Proto => 'udp', Broadcast => 1, LocalAddr => '127.0.0.1') or die "no socket: $!";
    my $to = sockaddr_in($cluster->{discovery}, inet_aton('127.255.255.255'));
    srand 11;
    for my $round (1 .. 500) {
        my $size = $round % 5 == 0 ? 0 : int rand($round % 50 == 0 ? 60000 : 300);
        send $socket, join('', map { chr int rand 256 } 1 .. $size), 0, $to;
    }
    is($node->cluster->{node_count}, 2, 'nobody was added to the table');
    my $late = $cluster->node(args => ['-memory']);
    $late->start;
    $cluster->settle;
    is($late->role, 'follower', 'and nodes still find each other');
    serves('afterwards');
};

finish();
