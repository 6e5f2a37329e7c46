# GET /metrics: its form, strictly, and that what it tells is so; GET /health?ready=1.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Cluster;
use Cluster::Need;

my $cluster = Cluster->new;
my ($leader, @followers) = $cluster->start(3);
$cluster->settle;

sub text {
    my ($node) = @_;
    my $reply = poll(sub { $node->request(GET => '/metrics') }, 'metrics');
    is($reply->{status}, 200, "GET /metrics of $node->{name}") if $reply->{status} != 200;
    return $reply->{body};
}

# name{labels} => value. Dies where a line is not as the form wants it.
sub samples {
    my ($text) = @_;
    my (%value, %type, %seen, $family);
    die 'it does not end with a newline' unless $text =~ /\n\z/;
    for my $line (split /\n/, $text) {
        if (my ($helped, $help) = $line =~ /^# HELP ([a-z_]+) (\S.*)$/) {
            die "HELP of $helped twice" if $seen{$helped}++;
            die "the help of $helped is no sentence" unless $help =~ /[.]$/;
            $family = $helped;
            next;
        }
        if (my ($typed, $type) = $line =~ /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/) {
            die "TYPE of $typed is not behind its HELP" unless $typed eq $family && !$type{$typed};
            die "a counter's name ends in _total: $typed" if ($type eq 'counter') != ($typed =~ /_total$/);
            $type{$typed} = $type;
            next;
        }
        my ($name, $labels, $number) = $line =~ /^([a-z_]+)(?:\{([^{}]+)\})? (NaN|[-+.0-9e]+)$/ or die "no sample: $line";
        my $base = $name;
        $base =~ s/_(?:bucket|sum|count)$// if ($type{$family} // '') eq 'histogram';
        die "$name stands in the family $family" unless $base eq $family && $type{$family};
        die "labels of $line" if defined $labels && $labels !~ /^[a-z_]+="[ -!#-\[\]-~]*"(?:,[a-z_]+="[ -!#-\[\]-~]*")*$/;
        my $key = defined $labels ? "$name\{$labels}" : $name;
        die "$key twice" if exists $value{$key};
        $value{$key} = $number;
    }
    check_histogram(\%value, $_) for grep { $type{$_} eq 'histogram' } keys %type;
    return \%value;
}

# Buckets grow to the count, and the last is +Inf.
sub check_histogram {
    my ($value, $name) = @_;
    my %buckets;
    for my $key (keys %$value) {
        my ($labels, $le) = $key =~ /^\Q$name\E_bucket\{(?:(.+),)?le="([^"]+)"\}$/ or next;
        push @{ $buckets{ $labels // '' } }, [$le eq '+Inf' ? 9**9**9 : $le, $value->{$key}];
    }
    for my $labels (keys %buckets) {
        my @sorted = sort { $a->[0] <=> $b->[0] } @{ $buckets{$labels} };
        my $braces = $labels eq '' ? '' : "{$labels}";
        die "$name has no +Inf" unless $sorted[-1][0] == 9**9**9;
        die "$name$braces: +Inf is not the count" unless $sorted[-1][1] == $value->{"${name}_count$braces"};
        die "$name$braces has no sum" unless defined $value->{"${name}_sum$braces"};
        for (1 .. $#sorted) { die "$name$braces falls" if $sorted[$_][1] < $sorted[$_ - 1][1] }
    }
}

subtest 'the form is strictly that of Prometheus' => sub {
    for my $node ($leader, @followers) {
        my $values = eval { samples(text($node)) };
        is($@, '', "the metrics of $node->{name}");
        cmp_ok(scalar keys %{ $values // {} }, '>', 100, 'and it holds something');
    }
    is($leader->request(GET => '/metrics')->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8', 'type');
    my ($promtool) = grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH};
SKIP: {
        need_part($promtool, 'promtool is not installed', 1);
        my $file = "$cluster->{directory}/metrics";
        spew($file, text($leader));
        my ($status, $out, $error) = run(['sh', '-c', "'$promtool' check metrics < '$file'"]);
        is("$status$out$error", '0', 'promtool check metrics finds nothing');
    }
};

subtest 'requests are counted by route and status, and their times add up' => sub {
    my $before = samples(text($leader));
    $leader->set("key$_" => 'x') for 1 .. 10;
    $leader->get('missing') for 1 .. 3;
    $leader->request(GET => '/nowhere');
    my $after = samples(text($leader));
    my $more = sub { ($after->{ $_[0] } // 0) - ($before->{ $_[0] } // 0) };
    is($more->('kvnode_http_requests_total{route="/set",status="200"}'), 10, 'writes');
    is($more->('kvnode_http_requests_total{route="/get",status="404"}'), 3, 'reads of a missing key');
    is($more->('kvnode_http_requests_total{route="other",status="404"}'), 1, 'a path that is no route');
    is($more->('kvnode_http_request_duration_seconds_count{route="/set"}'), 10, 'writes are timed');
    cmp_ok($more->('kvnode_http_request_duration_seconds_sum{route="/set"}'), '>', 0, 'and take their time');
    cmp_ok($more->('kvnode_log_sync_duration_seconds_count'), '>=', 1, 'syncs are timed');
    cmp_ok($more->('kvnode_log_sync_duration_seconds_sum'), '>', 0, 'and take theirs');
    cmp_ok($more->('kvnode_log_records_written_total'), '>=', 10, 'records');
    cmp_ok($more->('kvnode_log_batch_records_count'), '>=', 1, 'batches');
    cmp_ok($more->('kvnode_turn_duration_seconds_count'), '>=', 10, 'turns of the loop');
    is($more->('kvnode_keys'), 10, 'keys');
};

subtest 'the group is shown as it is' => sub {
    my $shown = poll(sub {
            my $m = samples(text($leader));
            my @lag = grep { /^kvnode_follower_lag_entries/ } keys %$m;
            @lag == 2 && !grep({ $m->{$_} != 0 } @lag) && $m->{kvnode_commit_index} == $m->{kvnode_log_last_index} && $m;
        }, 'two followers without lag');
    is(join(' ', map { $shown->{"kvnode_$_"} } qw(is_leader has_leader ready degraded voters learners)), '1 1 1 0 3 0',
        'the leader');
    is($shown->{kvnode_commit_index}, $shown->{kvnode_log_last_index}, 'all is committed');
    is($shown->{kvnode_applied_index}, $shown->{kvnode_log_last_index}, 'and applied');
    is($shown->{'kvnode_connections{kind="peer"}'}, 2, 'two nodes are connected');
    is($shown->{'kvnode_nodes{state="alive"}'}, 2, 'and heard of');
    cmp_ok($shown->{kvnode_discovery_sent_total}, '>', 0, 'announcements');
    cmp_ok($shown->{kvnode_leaderships_total}, '>=', 1, 'it was made leader');
    cmp_ok($shown->{process_resident_memory_bytes}, '>', 500_000, 'memory');
    cmp_ok($shown->{process_open_fds}, '>', 5, 'descriptors');
    my $follower = poll(sub { my $m = samples(text($followers[0])); $m->{kvnode_lag_entries} == 0 && $m }, 'no lag');
    is("$follower->{kvnode_is_leader} $follower->{kvnode_ready}", '0 1', 'a follower');
    is($follower->{kvnode_term}, $shown->{kvnode_term}, 'the same term');
    ok(!grep({ /^kvnode_follower_lag/ } keys %$follower), 'a follower knows nothing of others\' lag');
    cmp_ok($follower->{kvnode_staleness_seconds}, '<', 2, 'and is current');
};

subtest 'an election is counted with its cause' => sub {
    $leader->kill9;
    my $new = $cluster->settle(@followers);
    my $m = samples(text($new));
    my ($sum) = (0);
    $sum += $m->{$_} for grep { /^kvnode_elections_total\{cause="(?:timeout|leader_gone)"\}$/ } keys %$m;
    cmp_ok($sum, '>=', 1, 'the new leader began one');
    cmp_ok($m->{kvnode_leaderships_total}, '>=', 1, 'and won');
    $leader->start->up;
    $cluster->settle;
};

subtest 'a load balancer is told whether the node can serve' => sub {
    my $waiting = $cluster->node(group => 5)->start->up;
    my $reply = $waiting->request(GET => '/health?ready=1');
    is($reply->{status}, 503, 'a node that waits for its group');
    is($reply->json->{error}, 'not_ready', 'is not ready');
    is($waiting->request(GET => '/health')->{status}, 200, 'though it runs');
    $waiting->stop;
    for my $node ($leader, @followers) {
        poll(sub { $node->request(GET => '/health?ready=1')->{status} == 200 }, "$node->{name} to be ready");
        pass("$node->{name} is ready");
    }
    my ($new, @others) = ($cluster->leader);
    @others = grep { $_ != $new } $leader, @followers;
    $_->kill9 for $new, $others[0];
    poll(sub { $others[1]->request(GET => '/health?ready=1')->{status} == 503 }, 'the last one to notice');
    like($others[1]->request(GET => '/health?ready=1')->json->{message}, qr/leader/, 'without a leader it is not ready');
};

finish();
