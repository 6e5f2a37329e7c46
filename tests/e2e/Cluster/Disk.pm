# The disk of one node, watched and spoiled by the library that disk.c makes: see there for the calls and the orders.
package Cluster::Disk;

use strict;
use warnings;

my $count = 0;

sub new {
    my ($class, $cluster) = @_;
    my $folder = "$cluster->{directory}/disk-" . ++$count;
    mkdir $folder or die "cannot make $folder: $!";
    return bless { folder => $folder, mark => 0 }, $class;
}

sub environment {
    my ($self) = @_;
    my $library = Cluster::binary('tests/e2e/disk.so');
    die "there is no $library" unless -e $library;
    return {
        KVNODE_DISK => $self->{folder}, LD_PRELOAD => $library,
        ASAN_OPTIONS => join(':', $ENV{ASAN_OPTIONS} // (), 'verify_asan_link_order=0'),
    };
}

# From now on `calls` begins here.
sub mark {
    my ($self) = @_;
    $self->{mark} = -s "$self->{folder}/trace" // 0;
}

# The calls since the mark, each [call, name, error, rest].
sub calls {
    my ($self) = @_;
    return map { [split / /, $_, 4] } split /\n/, substr Cluster::slurp("$self->{folder}/trace"), $self->{mark};
}

# fail, interrupt or slow: calls of a kind on files that begin with the prefix. The prefix of a directory is '/'.
sub order {
    my ($self, $order, $call, $prefix, $number) = @_;
    Cluster::spew("$self->{folder}/$order.new", "$call $prefix $number\n");
    rename "$self->{folder}/$order.new", "$self->{folder}/$order" or die "cannot order: $!";
}

# Whether an order that holds once still waits for its call.
sub waits {
    my ($self, $order) = @_;
    return -e "$self->{folder}/$order";
}

sub withdraw {
    my ($self) = @_;
    unlink map { "$self->{folder}/$_" } qw(fail interrupt slow);
}

1;
