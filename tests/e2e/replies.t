# What clients see: every reply of the table of routes byte for byte, headers, conditions, limits and errors.
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Time::HiRes qw(time);
use Cluster;
use Cluster::Need;

my $version = qr/\d+\.\d+/;
my $node_id = qr/[A-Za-z0-9_-]{16}/;

# The demo's three terminals in one folder, but for the ports: no -data, no -bind, no -cluster.
my $cluster = Cluster->new;
my ($leader, @followers) = map {
    my $node = $cluster->node(exact => 1);
    $node->{args} = [-port => $node->{port}, -group => 0, ($_ == 1 ? '-leader' : ()), -api => $node->{api},
        '-discovery-port' => $cluster->{discovery}];
    $node;
} 1 .. 3;
$_->start for $leader, @followers;
$cluster->settle;
my $follower = $followers[0];

sub reply_is {
    my ($reply, $status, $body, $name) = @_;
    is($reply && "$reply->{status} $reply->{body}", "$status $body", $name);
}

sub error_is {
    my ($reply, $status, $error, $name) = @_;
    subtest $name => sub {
        ok($reply, 'there is an answer') or return;
        is($reply->{status}, $status, "status $status");
        my $json = eval { $reply->json } // {};
        is(join(' ', sort keys %$json), 'error fix message', 'the shape of errors');
        is($json->{error}, $error, "error $error");
        like($json->{message}, qr/^\S.+/, 'it says what happened');
        like($json->{fix}, qr/^[A-Z].+\.$/, 'it says what to do, in a sentence');
        is($reply->header('Content-Type'), 'application/json', 'it is JSON');
    };
}

# The reply of `get` once the follower has what the leader has.
sub get_when {
    my ($node, $key, $value) = @_;
    return Cluster::poll(sub {
            my $reply = $node->get($key);
            $reply && ($reply->{status} == 200) == defined $value && (!defined $value || $reply->json->{value} eq $value)
                && $reply;
        }, "$key on $node->{name}");
}

subtest 'the replies of the demo are byte for byte those of the table' => sub {
    my $health = $leader->request(GET => '/health');
    reply_is($health, 200, '{"status":"healthy","role":"leader","group":0,"keys":0}', 'GET /health of an empty leader');
    reply_is($leader->request(GET => '/keys'), 200, '{"keys":[],"count":0}', 'GET /keys of an empty store');
    reply_is($leader->request(POST => '/set', body => '{"key":"username","value":"alice"}'),
        200, '{"status":"ok","key":"username"}', 'POST /set');
    reply_is($leader->request(GET => '/get?key=username'), 200, '{"key":"username","value":"alice"}', 'GET /get');
    reply_is(get_when($follower, 'username', 'alice'), 200, '{"key":"username","value":"alice"}', 'GET /get of a follower');
    $leader->set(email => 'a@example.org');
    $leader->set(city => 'paris');
    reply_is($leader->request(GET => '/keys'), 200, '{"keys":["city","email","username"],"count":3}',
        'GET /keys lists in byte order');
    reply_is($leader->request(GET => '/health'), 200, '{"status":"healthy","role":"leader","group":0,"keys":3}',
        'GET /health of the leader');
    get_when($follower, 'city', 'paris');
    reply_is($follower->request(GET => '/health'), 200, '{"status":"healthy","role":"follower","group":0,"keys":3}',
        'GET /health of a follower');
    reply_is($leader->request(DELETE => '/delete?key=email'), 200, '{"status":"ok","key":"email"}', 'DELETE /delete');
    reply_is($leader->request(DELETE => '/delete?key=email'), 200, '{"status":"ok","key":"email"}',
        'DELETE /delete of a key that is not there');
    reply_is($leader->request(GET => '/keys'), 200, '{"keys":["city","username"],"count":2}', 'GET /keys after it');
    my ($rest) = $leader->request(GET => '/get?key=email');
    error_is($rest, 404, 'not_found', 'GET /get of a missing key');
};

subtest 'GET /cluster lists the nodes, self included, in order of id' => sub {
    for my $node ($leader, @followers) {
        my $reply = Cluster::poll(sub {
                my $reply = $node->request(GET => '/cluster') or return;
                $reply->json->{node_count} == 3 && (grep { $_->{is_leader} } @{ $reply->json->{nodes} }) && $reply;
            }, 'three nodes');
        my $json = $reply->json;
        my $nodes = join ',', map {
            sprintf '{"node_id":"%s","address":"%s","group_id":0,"is_leader":%s}', @$_{qw(node_id address)},
                $_->{address} eq "127.0.0.1:$leader->{port}" ? 'true' : 'false'
        } @{ $json->{nodes} };
        reply_is($reply, 200, sprintf('{"self_node_id":"%s","self_group":0,"is_leader":%s,"nodes":[%s],"node_count":3}',
                $json->{self_node_id}, $node == $leader ? 'true' : 'false', $nodes), "of $node->{name}");
        like($json->{self_node_id}, qr/^$node_id$/, 'an id has 16 characters');
        my @ids = map { $_->{node_id} } @{ $json->{nodes} };
        is("@ids", join(' ', sort @ids), 'in order of id');
        my ($self) = grep { $_->{node_id} eq $json->{self_node_id} } @{ $json->{nodes} };
        is($self->{address}, "127.0.0.1:$node->{port}", 'the cluster port is the address');
    }
};

subtest 'a reply says who decided, which version and which position' => sub {
    my $write = $leader->set(receipt => 'one');
    my $id = $leader->id;
    like($write->{head}, qr{^HTTP/1\.1\ 200\ OK\r\nContent-Type:\ application/json\r\nContent-Length:\ 31\r\n
        ETag:\ "($version)"\r\nKV-Position:\ 0:\1\r\nKV-Acks:\ [123]/3\r\nKV-Node:\ $id\r\nKV-Group:\ 0\r\n\r\n$}x,
        'the head of a write');
    my $read = $leader->get('receipt');
    is($read->header('ETag'), $write->header('ETag'), 'a read has the ETag of the write');
    is($read->header('KV-Node'), $id, 'a read says who answered');
    is($read->header('KV-Group'), '0', 'and of which group');
    is($read->header($_), undef, "a read of the leader has no $_") for qw(KV-Staleness-Ms KV-Position KV-Acks KV-Degraded);
    my $far = get_when($follower, 'receipt', 'one');
    is($far->header('ETag'), $write->header('ETag'), 'a follower has the same ETag');
    is($far->header('KV-Node'), $follower->id, 'a follower names itself');
    like($far->header('KV-Staleness-Ms'), qr/^\d+$/, 'a follower says how stale it may be');
    cmp_ok($far->header('KV-Staleness-Ms'), '<', 5000, 'which is not long');
    like($follower->get('none')->header('KV-Staleness-Ms') // '', qr/^\d+$/, 'also where the key is missing');
};

subtest 'a follower passes a write to the leader and answers as it did' => sub {
    my $write = $follower->set(through => 'two');
    reply_is($write, 200, '{"status":"ok","key":"through"}', 'POST /set through a follower');
    is($write->header('KV-Node'), $leader->id, 'the leader decided');
    like($write->header('KV-Position') // '', qr/^0:$version$/, 'there is a position');
    like($write->header('KV-Acks') // '', qr{^[123]/3$}, 'there are acknowledgements');
    reply_is($leader->get('through'), 200, '{"key":"through","value":"two"}', 'the leader has it');
    reply_is($followers[1]->delete('through'), 200, '{"status":"ok","key":"through"}', 'DELETE through a follower');
    error_is($leader->get('through'), 404, 'not_found', 'it is gone');
    error_is($follower->set(through => 'x', headers => ['If-Match: "1.1"']), 412, 'precondition_failed',
        'a refusal comes through a follower too');
};

subtest 'conditions are decided when the write is applied' => sub {
    for my $node ($leader, $follower) {
        my $key = "condition-$node->{name}";
        my $first = $node->set($key => 'a', headers => ['If-None-Match: *']);
        is($first->{status}, 200, 'If-None-Match: * creates');
        my $again = $node->set($key => 'b', headers => ['If-None-Match: *']);
        error_is($again, 412, 'precondition_failed', 'and never overwrites');
        is($again->header('ETag'), $first->header('ETag'), '412 bears the current version');
        my $etag = $first->header('ETag');
        my $second = $node->set($key => 'c', headers => ["If-Match: $etag"]);
        is($second->{status}, 200, 'If-Match with the current version writes');
        isnt($second->header('ETag'), $etag, 'which makes a new version');
        my $late = $node->set($key => 'd', headers => ["If-Match: $etag"]);
        error_is($late, 412, 'precondition_failed', 'an old version does not write');
        is($late->header('ETag'), $second->header('ETag'), '412 bears the current version');
        is($leader->value($key), 'c', 'the value is that of the last write that held');
        error_is($node->request(DELETE => "/delete?key=$key", headers => ["If-Match: $etag"]), 412,
            'precondition_failed', 'nor does it delete');
        is($node->request(DELETE => "/delete?key=$key", headers => ['If-Match: *'])->{status}, 200,
            'If-Match: * deletes what is there');
        my $gone = $node->set($key => 'e', headers => ['If-Match: *']);
        error_is($gone, 412, 'precondition_failed', 'If-Match: * does not create');
        is($gone->header('ETag'), undef, 'a missing key has no version');
    }
    error_is($leader->set(k => 'v', headers => ['If-Match: "nonsense"']), 400, 'bad_parameter', 'a version that is none');
    error_is($leader->set(k => 'v', headers => ['If-None-Match: "1.1"']), 400, 'bad_parameter', 'If-None-Match takes * only');
};

subtest '?ack and ?consistency are per request' => sub {
    for my $node ($leader, $follower) {
        my $quorum = $node->set(ack => 'q', query => '?ack=quorum');
        is($quorum->{status}, 200, 'ack=quorum');
        like($quorum->header('KV-Acks'), qr{^[23]/3$}, 'a majority had it');
        is($node->set(ack => 'a', query => '?ack=all')->header('KV-Acks'), '3/3', 'ack=all: all had it');
        is($node->delete('ack', '&ack=all')->header('KV-Acks'), '3/3', 'a delete likewise');
        is($node->set(ack => 's', query => '?ack=async')->{status}, 200, 'ack=async is the mode of the group');
        error_is($node->set(ack => 'x', query => '?ack=some'), 400, 'bad_parameter', 'no such acknowledgement');
    }
    for my $round (1 .. 20) {
        $leader->set(fresh => $round);
        my $node = $followers[ $round % 2 ];
        is($node->value('fresh', '&consistency=linearizable'), $round,
            "a linearizable read of a follower sees the write before it ($round)");
    }
    is($leader->value('fresh', '&consistency=linearizable'), 20, 'so does the leader');
    is($leader->value('fresh', '&consistency=default'), 20, 'consistency=default');
    error_is($leader->get('fresh', '&consistency=eventual'), 400, 'bad_parameter', 'no such consistency');
    error_is($follower->get('never', '&consistency=linearizable'), 404, 'not_found', 'a linearizable read of nothing');
    $leader->set('z-listed' => 1);
    like($follower->request(GET => '/keys?prefix=z-&consistency=linearizable')->{body}, qr/\["z-listed"\]/,
        'a linearizable listing of a follower sees the write before it');
};

subtest 'in a quorum group a weaker ?ack is refused' => sub {
    my $strict = Cluster->new;
    my ($one) = $strict->start(1, -memory, -ack => 'quorum');
    is($one->set(k => 'v')->header('KV-Acks'), '1/1', 'a single voter is a majority');
    error_is($one->set(k => 'v', query => '?ack=async'), 400, 'weaker_ack', 'ack=async in a quorum group');
    is($one->set(k => 'v', query => '?ack=all')->{status}, 200, 'a stronger one is taken');
    is($one->stop, 0, 'it stops');
};

subtest 'keys and values are any text, and bytes are kept' => sub {
    my %values = (
        'nul' => "a\0b\0",
        "key\0with\0nul" => 'v',
        'schlüssel ☃ 𝄞' => 'wert ☃ 𝄞 é',
        'quotes "\\ and /' => "tab\tnewline\nreturn\r\b\f\x01\x1f\x7f",
        'empty' => '',
        'plus+and&equals=' => 'a+b&c=d%20',
        ' ' => ' ',
    );
    for my $key (sort keys %values) {
        my $shown = Cluster::text_of($key);
        my $reply = $follower->set($key => $values{$key});
        is($reply->{status}, 200, "set $shown");
        is_deeply($reply->json, { status => 'ok', key => $key }, 'the answer names the key');
        my $read = $leader->get($key);
        is_deeply($read->json, { key => $key, value => $values{$key} }, 'it is read back');
    }
    is($leader->set(plus => 1)->{status}, 200, 'a key');
    is($leader->request(GET => '/get?key=p%6Cus')->{status}, 200, 'a percent-encoded key');
    reply_is($leader->set("\0" => "\0"), 200, '{"status":"ok","key":"\u0000"}', 'NUL is written as \u0000');
    my %listed = map { $_ => 1 } @{ $leader->request(GET => '/keys')->json->{keys} };
    ok($listed{$_}, 'listed: ' . Cluster::text_of($_)) for sort keys %values;
};

subtest 'keys have 1 to 1024 bytes, values up to 1 MiB' => sub {
    my $million = 1 << 20;
    is($leader->set('k' x 1024, 'v')->{status}, 200, 'a key of 1024 bytes');
    is($leader->value('k' x 1024), 'v', 'is read back');
    error_is($leader->set('k' x 1025, 'v'), 400, 'bad_key', 'a key of 1025 bytes');
    error_is($leader->get('k' x 1025), 400, 'bad_key', 'likewise in a query');
    error_is($leader->delete('k' x 1025), 400, 'bad_key', 'likewise in a delete');
    error_is($leader->set('', 'v'), 400, 'bad_key', 'an empty key');
    error_is($leader->request(GET => '/get'), 400, 'bad_key', 'a missing key');
    for my $node ($leader, $follower) {
        my $value = join '', map { chr(33 + ($_ * 7 + $node->{port}) % 90) } 1 .. $million;
        is($node->set(large => $value)->{status}, 200, 'a value of 1 MiB');
        ok(get_when($_, large => $value), "is read back from $_->{name}") for $leader, @followers;
        error_is($node->set(large => 'v' x ($million + 1)), 413, 'too_large', 'a value of 1 MiB and a byte');
        is($node->set(large => "\0" x $million)->{status}, 200, '1 MiB of NUL, as six times as much JSON');
    }
    get_when($follower, large => "\0" x $million);
    is($leader->delete('large')->{status}, 200, 'deleted');
};

subtest 'GET /keys takes prefix, after and limit, and streams long lists' => sub {
    my $connection = $follower->connect;
    my @keys = map { sprintf 'many/%05d', $_ * 7919 % 20000 } 1 .. 20000;
    my ($sent, $ok) = (0, 0);
    while ($ok < @keys) {
        my $text = '';
        for (; $sent < @keys && $sent - $ok < 400; $sent++) {
            $text .= $connection->request_text(POST => '/set', body => qq({"key":"$keys[$sent]","value":"$sent"}));
        }
        $connection->send($text);
        for (my $want = $sent; $ok < $want; $ok++) {
            my $reply = $connection->response or die 'no answer';
            $reply->{status} == 200 or die "$reply->{status} $reply->{body}";
        }
    }
    is($ok, 20000, '20,000 writes through a follower');
    my @sorted = sort @keys;
    for my $node ($leader, $follower) {
        get_when($node, $keys[-1], '19999');
        my $all = $node->request(GET => '/keys?prefix=many/');
        is($all->{body}, '{"keys":[' . join(',', map { qq("$_") } @sorted) . '],"count":20000}',
            "all of them, from $node->{name}");
        is($all->header('Transfer-Encoding'), 'chunked', 'streamed');
    }
    my $list = sub { $leader->request(GET => "/keys?$_[0]")->{body} };
    is($list->('prefix=many/0000&limit=2'), '{"keys":["many/00000","many/00001"],"count":2}', 'prefix and limit');
    is($list->('prefix=many/&after=many/19998'), '{"keys":["many/19999"],"count":1}', 'prefix and after');
    is($list->('prefix=many/&after=many/00001x&limit=1'), '{"keys":["many/00002"],"count":1}', 'after need not be there');
    is($list->('prefix=nothing'), '{"keys":[],"count":0}', 'none');
    my ($pages, $after, @paged) = (0, '');
    while (1) {
        my $page = Cluster::json_of($list->("prefix=many/&limit=999&after=$after"))->{keys};
        last unless @$page;
        push @paged, @$page;
        $after = $page->[-1];
        $pages++;
    }
    is($pages, 21, 'pages of 999');
    is_deeply(\@paged, \@sorted, 'make up the whole');
    error_is($leader->request(GET => "/keys?limit=$_"), 400, 'bad_parameter', "limit=$_") for qw(-1 x 0 1e3);
    error_is($leader->request(GET => '/keys?lmit=1'), 400, 'bad_parameter', 'an unknown parameter is no silent one');
    my $head = $leader->request(HEAD => '/keys');
    is($head && "$head->{status} $head->{body}", '200 ', 'HEAD has no body');
};

subtest 'errors of input' => sub {
    my $bad = sub { $leader->request(POST => '/set', body => $_[0]) };
    error_is($bad->('{"key":"k"'), 400, 'bad_json', 'JSON that is cut off');
    error_is($bad->('{"key":"k","value":1}'), 400, 'bad_json', 'a value that is a number');
    error_is($bad->('{"key":"k"}'), 400, 'bad_json', 'no value');
    error_is($bad->('{"key":"k","key":"l","value":"v"}'), 400, 'bad_json', 'a key twice');
    error_is($bad->('{"Key":"k","value":"v"}'), 400, 'bad_json', 'a name in another case');
    error_is($bad->(qq({"key":"k","value":"\xff"})), 400, 'bad_json', 'bytes that are not UTF-8');
    error_is($bad->('{"key":"k","value":"\ud800"}'), 400, 'bad_json', 'half a surrogate pair');
    error_is($bad->('{"key":"k","value":"v"}x'), 400, 'bad_json', 'something behind it');
    error_is($bad->(''), 400, 'bad_json', 'nothing');
    error_is($leader->request(GET => '/nowhere'), 404, 'no_route', 'no such route');
    error_is($leader->request(GET => '/set'), 405, 'method_not_allowed', 'GET /set');
    is($leader->request(GET => '/set')->header('Allow'), 'POST', 'Allow says which method');
    error_is($leader->request(POST => '/get?key=k', body => ''), 405, 'method_not_allowed', 'POST /get');
    for my $type ('text/plain', 'application/x-www-form-urlencoded', 'application/jsonx') {
        error_is($leader->set(k => 'v', headers => ["Content-Type: $type"]), 415, 'not_json', $type);
    }
    is($leader->set(k => 'v', headers => ['Content-Type: Application/JSON; charset=utf-8'])->{status}, 200,
        'application/json with a parameter');
    error_is($leader->request(GET => '/health', headers => ['Expect: 200-maybe']), 417, 'expectation_failed', 'Expect');
    error_is($leader->request(GET => '/health', headers => ['X: ' . 'x' x 20000]), 431, 'headers_too_large', 'headers');
    my $connection = $leader->connect;
    $connection->send("GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n");
    error_is($connection->response, 505, 'http_version', 'HTTP/2.0');
    $connection = $leader->connect;
    $connection->send("GET /health\r\n\r\n");
    error_is($connection->response, 400, 'bad_request', 'a line that is no request');
};

subtest 'what is not built yet is refused by its name' => sub {
    for my $target ('/kv/k', '/api/v1/kv/k', '/api/v1/cluster/stats') {
        my $reply = $leader->request(GET => $target);
        error_is($reply, 501, 'not_built', $target);
        like($reply->json->{message}, qr/\Q$target\E/, 'by its name');
    }
    my $reply = $leader->set(k => 'v', query => '?ttl=5');
    error_is($reply, 501, 'not_built', '?ttl');
    like($reply->json->{message}, qr/ttl/, 'by its name');
    error_is($leader->request(POST => '/set', body => '{"key":"k","value":"v","ttl":5}'), 501, 'not_built', 'ttl in JSON');
};

subtest 'requests of foreign pages and foreign names are refused' => sub {
    my $try = sub { $leader->request(GET => '/health', headers => [@_]) };
    is($try->("Host: $_")->{status}, 200, "Host: $_")
        for "127.0.0.1:$leader->{api}", '127.0.0.1', 'localhost', 'localhost:1', 'LocalHost:80', '[::1]:9000', '10.1.2.3';
    error_is($try->("Host: $_"), 403, 'forbidden_host', "Host: $_")
        for 'evil.example', 'localhost.evil.example', "127.0.0.1.evil.example:$leader->{api}", 'kvnode:x';
    is($try->('Host: localhost:9', 'Origin: http://localhost:9')->{status}, 200, 'a page of this node');
    error_is($try->('Host: localhost:9', "Origin: $_"), 403, 'forbidden_origin', "Origin: $_")
        for 'http://evil.example', 'http://localhost:10', 'null', 'http://localhost';
    error_is($leader->set(k => 'v', headers => ['Origin: http://evil.example']), 403, 'forbidden_origin', 'a write likewise');
};

subtest '-allow-host adds names' => sub {
    my $named = Cluster->new;
    my ($one) = $named->start(1, -memory, '-allow-host' => 'store.lab,KV.lab');
    my $try = sub { $one->request(GET => '/health', headers => ["Host: $_[0]"])->{status} };
    is($try->($_), 200, $_) for 'store.lab', 'kv.lab:9000', 'STORE.LAB';
    is($try->($_), 403, $_) for 'lab', 'x.store.lab';
    is($one->stop, 0, 'it stops');
};

subtest 'pipelined requests are answered in order' => sub {
    for my $node ($leader, $follower) {
        my $connection = $node->connect;
        my ($text, @want) = '';
        for my $i (1 .. 200) {
            my $key = "pipe-$node->{name}-$i";
            $text .= $connection->request_text(POST => '/set', body => qq({"key":"$key","value":"$i"}));
            push @want, "200 {\"status\":\"ok\",\"key\":\"$key\"}";
            if ($i % 3 == 0) {
                $text .= $connection->request_text(GET => "/get?key=$key&consistency=linearizable");
                push @want, "200 {\"key\":\"$key\",\"value\":\"$i\"}";
            }
            if ($i % 10 == 0) {
                $text .= $connection->request_text(GET => '/nowhere');
                push @want, '404 *';
                $text .= $connection->request_text(GET => "/keys?prefix=pipe-$node->{name}-$i&limit=1&consistency=linearizable");
                push @want, "200 {\"keys\":[\"pipe-$node->{name}-$i\"],\"count\":1}";
                $text .= $connection->request_text(DELETE => "/delete?key=$key");
                push @want, "200 {\"status\":\"ok\",\"key\":\"$key\"}";
            }
        }
        ok($connection->send($text), 'sent in one go');
        my @got;
        for (@want) {
            my $reply = $connection->response or last;
            push @got, $reply->{status} == 404 ? '404 *' : "$reply->{status} $reply->{body}";
        }
        is_deeply(\@got, \@want, scalar(@want) . " requests through $node->{name}");
    }
};

subtest 'a pipelined request that waited for an earlier answer begins at once, not with the next timer' => sub {
    my $alone = Cluster->new;
    my ($one) = $alone->start(1);
    my $connection = $one->connect;
    my $pair = $connection->request_text(POST => '/set', body => '{"key":"k","value":"v"}')
        . $connection->request_text(GET => '/get?key=k');
    my $from = time;
    $connection->send($pair x 200);
    my $ok = grep { ($connection->response // {})->{status} == 200 } 1 .. 400;
    is($ok, 400, 'all are answered');
    cmp_ok(time - $from, '<', 4, 'without a pause of tens of milliseconds for each');
    is($one->stop, 0, 'it stops');
};

subtest 'bodies may be chunked, and Expect is answered' => sub {
    my $connection = $leader->connect;
    $connection->send("POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            . "Transfer-Encoding: chunked\r\n\r\n6\r\n{\"key\"\r\n4;x=y\r\n:\"c\"\r\nd\r\n,\"value\":\"d\"}\r\n0\r\n\r\n");
    reply_is($connection->response, 200, '{"status":"ok","key":"c"}', 'a chunked body');
    my $body = '{"key":"expect","value":"yes"}';
    $connection->send("POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            . 'Content-Length: ' . length($body) . "\r\nExpect: 100-continue\r\n\r\n");
    my $go = $connection->response;
    is($go && $go->{head}, "HTTP/1.1 100 Continue\r\n\r\n", '100 Continue');
    $connection->send($body);
    reply_is($connection->response, 200, '{"status":"ok","key":"expect"}', 'then the answer');
    $connection->send("POST /set HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            . "Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n");
    error_is($connection->response, 413, 'too_large', 'a body that is too large is refused before it is sent');
SKIP: {
        my ($status) = Cluster::run(['curl', '--version']);
        need_part($status eq '0', 'curl is not installed', 3);
        my $large = 'v' x 500_000;
        Cluster::spew("$cluster->{directory}/body", qq({"key":"curl","value":"$large"}));
        my @curl = ('curl', '-s', '-S', '--max-time', 20, '-H', 'Content-Type: application/json');
        my ($end, $out) = Cluster::run([@curl, '-H', 'Expect: 100-continue', '-w', '%{http_code}', '--data-binary',
                "\@$cluster->{directory}/body", "http://localhost:$follower->{api}/set"]);
        is("$end $out", '0 {"status":"ok","key":"curl"}200', 'curl with Expect: 100-continue');
        is($leader->value('curl'), $large, 'the value is whole');
        ($end, $out) = Cluster::run([@curl, '-X', 'DELETE', "http://localhost:$follower->{api}/delete?key=curl"]);
        is("$end $out", '0 {"status":"ok","key":"curl"}', 'curl -X DELETE');
    }
};

is($_->stop, 0, "$_->{name} stops") for @followers, $leader;
finish();
