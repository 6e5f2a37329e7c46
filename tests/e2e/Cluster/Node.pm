# One node: its process, its log and requests to it.
package Cluster::Node;

use strict;
use warnings;
use Time::HiRes qw(time);

sub new {
    my ($class, $cluster, %options) = @_;
    my $number = @{ $cluster->{nodes} } + 1;
    my $bind = $options{bind} // '127.0.0.1';
    my $name = $options{name} // "node$number";
    return bless {
        cluster => $cluster,
        name    => $name,
        bind    => $bind,
        port    => $options{port} // Cluster::free_port('tcp', $bind),
        api     => $options{api} // Cluster::free_port('tcp', $bind),
        leader  => $options{leader},
        group   => $options{group} // 0,
        args    => $options{args} // [],
        exact   => $options{exact},
        prefix  => $options{prefix} // [],
        disk    => $options{disk},
        data    => $options{data} // "$cluster->{directory}/$name",
        file    => "$cluster->{directory}/$name.log",
    }, $class;
}

# The command; a flag in `args` takes the place of the same one given by default. With `exact` there are no defaults.
sub command {
    my ($self, @more) = @_;
    my @kvnode = (@{ $self->{prefix} }, Cluster::binary('kvnode'));
    return (@kvnode, @{ $self->{args} }, @more) if $self->{exact};
    my @args = (@{ $self->{cluster}{args} }, @{ $self->{args} }, @more);
    my %given = map { $_ => 1 } @args;
    my @default = (
        [-port => $self->{port}], [-api => $self->{api}], [-group => $self->{group}], [-bind => $self->{bind}],
        [-cluster => $self->{cluster}{name}], ['-discovery-port' => $self->{cluster}{discovery}],
        ['-log-format' => 'json'],
    );
    push @default, [-data => $self->{data}] unless $given{-memory};
    push @default, ['-leader'] if $self->{leader};
    return (@kvnode, (map { @$_ } grep { !$given{ $_->[0] } } @default), @args);
}

sub start {
    my ($self, @more) = @_;
    die "$self->{name} runs already" if $self->running;
    $self->{asked} = 0;
    delete $self->{status};
    $self->{mark} = length $self->log;
    $self->{pid} = Cluster::spawn([$self->command(@more)], $self->{cluster}{directory}, $self->{file}, $self->{file},
        $self->{disk} && $self->{disk}->environment);
    return $self;
}

# Started, and its API answers.
sub up {
    my ($self) = @_;
    Cluster::poll(sub { die "$self->{name} ended: " . $self->log unless $self->running; $self->health },
        "$self->{name} to answer");
    return $self;
}

sub running {
    my ($self) = @_;
    return 0 unless $self->{pid};
    return 1 if waitpid($self->{pid}, 1) == 0;
    $self->{status} = $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
    $self->{pid} = 0;
    return 0;
}

sub ended_unasked {
    my ($self) = @_;
    return !$self->running && defined $self->{status} && !$self->{asked};
}

sub signal {
    my ($self, $signal) = @_;
    die "$self->{name} does not run" unless $self->running;
    $self->{asked} = 1 if $signal !~ /^(?:STOP|CONT)$/;
    kill $signal => $self->{pid} or die "cannot signal $self->{name}: $!";
}

# Waits for the end: the exit status, or "signal N".
sub ended {
    my ($self, $seconds) = @_;
    $self->{asked} = 1;
    Cluster::poll(sub { !$self->running }, "$self->{name} to end", $seconds);
    return $self->{status};
}

sub kill9 {
    my ($self) = @_;
    $self->signal('KILL');
    return $self->ended;
}

sub stop {
    my ($self, $signal) = @_;
    $self->signal($signal // 'TERM');
    return $self->ended;
}

sub log { Cluster::slurp($_[0]{file}) }

# The log's lines since the last start.
sub lines {
    my ($self) = @_;
    return split /\n/, substr($self->log, $self->{mark} // 0);
}

# The events of a name since the last start, as their messages.
sub events {
    my ($self, $name) = @_;
    my @found;
    for my $line ($self->lines) {
        my $event = eval { Cluster::json_of($line) } or next;
        push @found, $event->{message} if $event->{event} eq $name;
    }
    return @found;
}

sub wait_event {
    my ($self, $name, $seconds) = @_;
    return Cluster::poll(sub { ($self->events($name))[0] }, "the event $name of $self->{name}", $seconds);
}

sub connect { Cluster::Connection->new($_[0]{bind}, $_[0]{api}) }

# One request on a connection of its own. Options: headers (a list of lines), body, seconds. Undef where no whole
# answer came.
sub request {
    my ($self, $method, $target, %options) = @_;
    my $connection = $self->connect or return;
    $connection->send_request($method, $target, %options);
    return $connection->response(seconds => $options{seconds}, head => $method eq 'HEAD');
}

sub get { $_[0]->request(GET => '/get?key=' . escape($_[1]) . ($_[2] // '')) }
sub delete { $_[0]->request(DELETE => '/delete?key=' . escape($_[1]) . ($_[2] // '')) }

sub set {
    my ($self, $key, $value, %options) = @_;
    my $query = delete $options{query} // '';
    return $self->request(POST => "/set$query", body => Cluster::text_of({ key => "$key", value => "$value" }), %options);
}

sub value {
    my ($self, $key, $query) = @_;
    my $reply = $self->get($key, $query) or return;
    return $reply->{status} == 200 ? $reply->json->{value} : undef;
}

sub health {
    my ($self, $seconds) = @_;
    my $reply = $self->request(GET => '/health', seconds => $seconds // 5) or return;
    return $reply->json;
}

# Waits until the group has `count` voters and all of them acknowledge.
sub all_vote {
    my ($self, $count) = @_;
    Cluster::poll(sub {
            my $reply = $self->set(voters => 'x', query => '?ack=all');
            $reply && ($reply->header('KV-Acks') // '') eq "$count/$count";
        }, "$count voters", 60);
}

sub role { (($_[0]->health // {})->{role}) // 'none' }

sub cluster {
    my ($self) = @_;
    my $reply = $self->request(GET => '/cluster') or return;
    return $reply->json;
}

sub id { ($_[0]->cluster // {})->{self_node_id} }

sub escape {
    my ($text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    $text =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
    return $text;
}

1;
