# A group of three under faults, -ack quorum: tests/nemesis/Nemesis.pm.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Nemesis;

Nemesis->rounds(nodes => 3, ack => 'quorum');
