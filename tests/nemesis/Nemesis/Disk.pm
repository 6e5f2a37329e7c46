# The disk of one node: an ext4 of its own in a file, so that it can be full, and lose its power. Where the machine lets no
# file be mounted, a file system in memory, which can be full only.
#
# The power is cut by the file system's shutdown ioctl: from then on nothing reaches the file, neither what was written
# and not synced nor a journal entry under way. Mounted again, the journal is replayed.
package Nemesis::Disk;

use strict;
use warnings;

use Cluster::Namespace;

my $SHUTDOWN = 0x8004587d;    # FS_IOC_SHUTDOWN, _IOR('X', 125, __u32)
my $NO_LOG_FLUSH = 2;

# With $loses_power, a disk whose power can be cut.
sub new {
    my ($class, $folder, $name, $size, $loses_power) = @_;
    my $self = bless { point => "$folder/$name.disk" }, $class;
    mkdir $self->{point};
    if (!$loses_power) {
        command(qw(mount -t tmpfs -o), "size=$size", 'tmpfs', $self->{point});
        return $self;
    }
    $self->{image} = "$folder/$name.image";
    open my $image, '>', $self->{image} or die "$self->{image}: $!";
    truncate $image, $size or die "$self->{image}: $!";
    close $image;
    command(qw(mkfs.ext4 -q -F -m 0), $self->{image});
    return $self->mount;
}

# Whether power can be cut here: false, and why in $@.
sub power_possible {
    my ($class, $folder) = @_;
    return eval {
        my $disk = $class->new($folder, 'try', 16 << 20, 1);
        $disk->cut_power;
        $disk->remove;
        1;
    };
}

sub mount {
    my ($self) = @_;
    command(qw(mount -o loop), $self->{image}, $self->{point});
    return $self;
}

sub remove {
    my ($self) = @_;
    command('umount', $self->{point});
    unlink $self->{image} if $self->{image};
}

sub cut_power {
    my ($self) = @_;
    open my $point, '<', $self->{point} or die "$self->{point}: $!";
    my $flags = pack 'L', $NO_LOG_FLUSH;
    ioctl $point, $SHUTDOWN, $flags or die "the shutdown of $self->{point}: $!";
    close $point;
}

# After a power cut, when no process uses it any more.
sub power_on {
    my ($self) = @_;
    command('umount', $self->{point});
    return $self->mount;
}

# Takes all free space but so many bytes.
sub fill {
    my ($self, $left) = @_;
    my ($free) = `df -B1 --output=avail '$self->{point}'` =~ /(\d+)\s*$/ or die 'df shows no size';
    command(qw(fallocate -l), $free - $left, "$self->{point}/filler") if $free > $left;
}

# For good: a power cut does not bring it back.
sub free {
    my ($self) = @_;
    unlink "$self->{point}/filler";
    command(qw(sync -f), $self->{point});
}

1;
