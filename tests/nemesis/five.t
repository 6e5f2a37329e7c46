# A group of five under faults, -ack async: tests/nemesis/Nemesis.pm.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Nemesis;

Nemesis->rounds(nodes => 5, ack => 'async');
