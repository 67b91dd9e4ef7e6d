"""A draft is made on what others have sent, and they are told apart from us when it cannot be."""

import pytest

from forging import SLOT, Device
from mlsrtc.drafts import Place, enter_from_outside
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId
from mlsrtc.mls import Client, SigningKey
from mlsrtc.wire.commit_data import CommitData
from test_bad_input_welcome import participant


def test_a_second_leaf_of_ours_in_the_tree_is_not_our_fault() -> None:
    """The door blames its caller for it. In a call, a device is in the tree once, unless somebody added it again."""
    ours, parent = participant(Device.new("ours")), EpochId(b"p" * 32)
    made = Client(b"other", SigningKey.generate()).create_group(b"call").commit(add=[ours.public_key_package])
    place = Place(SLOT, parent, parent, None, 65536)
    with pytest.raises(RemoteProtocolError) as caught:
        enter_from_outside(ours, made.group.group_info(), made.tree, place, CommitData(parent, 1), replaces=None)
    assert (caught.value.reason, caught.value.where) == ("duplicate_leaf", "tree")
