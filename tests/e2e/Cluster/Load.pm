# Writers, one process for each node, that set keys never used before and keep a record of what was answered.
#
# A record's line is "key status version"; status 0 stands for a connection that closed without an answer. The value of
# a key is the key itself, so that every write is unique.
package Cluster::Load;

use strict;
use warnings;

my (%running, $count);

# Options: query (of /set).
sub start {
    my ($class, $cluster, $nodes, %options) = @_;
    my $self = bless { writers => [] }, $class;
    for my $node (@$nodes) {
        my $name = sprintf 'load-%d-%d-', $$, ++$count;
        my $file = "$cluster->{directory}/$name.record";
        my $pid = fork // die "cannot fork: $!";
        if ($pid == 0) {
            write_keys($node, $name, $file, $options{query} // '');
            require POSIX;
            POSIX::_exit(0);
        }
        $running{$pid} = 1;
        push @{ $self->{writers} }, { pid => $pid, file => $file };
    }
    return $self;
}

sub write_keys {
    my ($node, $name, $file, $query) = @_;
    my ($stop, $connection) = 0;
    $SIG{TERM} = sub { $stop = 1 };
    open my $record, '>', $file or return;
    for (my $i = 1; !$stop; $i++) {
        $connection //= $node->connect;
        if (!$connection) {
            Cluster::pause(0.02);
            next;
        }
        my $key = $name . $i;
        my $sent = $connection->send_request(POST => "/set$query", body => qq({"key":"$key","value":"$key"}));
        my $reply = $sent ? $connection->response(seconds => 10) : undef;
        syswrite $record, sprintf "%s %d %s\n", $key, $reply ? $reply->{status} : 0,
            $reply ? $reply->header('ETag') // '-' : $connection->{ended} ? 'closed' : 'silent';
        undef $connection if !$reply || ($reply->header('Connection') // '') eq 'close';
    }
}

# What was recorded so far: a list of [key, status, version].
sub records {
    my ($self) = @_;
    return map { [split / /] } map { split /\n/, Cluster::slurp($_->{file}) } @{ $self->{writers} };
}

sub answered {
    my ($self) = @_;
    return map { $_->[0] } grep { $_->[1] == 200 } $self->records;
}

# Waits until each writer has had `more` further writes answered.
sub wait_for {
    my ($self, $more) = @_;
    my @want;
    my $number = sub { scalar(() = Cluster::slurp($_[0]{file}) =~ / 200 /g) };
    @want = map { $number->($_) + $more } @{ $self->{writers} };
    Cluster::poll(sub { !grep { $number->($self->{writers}[$_]) < $want[$_] } 0 .. $#want }, "$more answered writes");
}

# Ends the writers after their last answer; returns the records.
sub stop {
    my ($self) = @_;
    kill TERM => $_->{pid} for @{ $self->{writers} };
    for my $writer (@{ $self->{writers} }) {
        defined Cluster::reap($writer->{pid}) or die 'a writer does not end';
        delete $running{ $writer->{pid} };
    }
    return $self->records;
}

sub end_all {
    for my $pid (keys %running) {
        kill KILL => $pid;
        Cluster::reap($pid);
    }
    %running = ();
}

1;
