# What must not grow: the log, in every mode of -fsync; and what a stop must not cut.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;

sub overwrite {
    my ($node, $times, $value) = @_;
    my $connection = $node->connect;
    my $text = $connection->request_text(POST => '/set', body => qq({"key":"k","value":"$value"}));
    my $ok = 0;
    for (1 .. $times / 4) {
        $connection->send($text x 4);
        $ok += (($connection->response // {})->{status} // 0) == 200 for 1 .. 4;
    }
    return $ok;
}

for my $sync ('always', '100ms', 'never') {
    subtest "-fsync $sync: a snapshot lets the log's files go" => sub {
        my $cluster = Cluster->new;
        my ($node) = $cluster->start(1, -fsync => $sync);
        is(overwrite($node, 400, 'v' x 1_000_000), 400, '400 MB are written over one key');
        poll(sub { my @files = glob "$node->{data}/log-*"; @files <= 12 }, 'at most 12 segments of 16 MiB');
        pass('the log is short');
        is($node->stop, 0, 'it stops');
    };
}

subtest 'a stop does not cut an answer that its client is still reading' => sub {
    my $cluster = Cluster->new;
    my ($node) = $cluster->start(1);
    $node->set(large => 'v' x 1_000_000);
    my $connection = $node->connect;
    $connection->send($connection->request_text(GET => '/get?key=large') x 7);
    poll(sub { ($node->health // {})->{status} }, 'the node to have seen it');
    $node->signal('TERM');
    my $whole = grep { length(($connection->response // {})->{body} // '') > 1_000_000 } 1 .. 7;
    cmp_ok($whole, '>=', 1, 'there are answers');
    is($connection->rest(5), '', 'and each is whole');
    is($node->ended, 0, 'exit status 0');
};

finish();
