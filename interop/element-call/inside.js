// Runs in a page of Element Call before it does, and says what comes of the call. It looks on, and changes nothing.
"use strict";

const connections = [];
const sids = new Map(); // by the id of a track in this page, what the SFU calls it

globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) {
    super(...given);
    connections.push(this);
    // The SFU names a stream by the participant's sid and the track's.
    this.addEventListener("track", ({ track, streams }) => sids.set(track.id, streams[0]?.id.split("|")[1]));
  }
};

/** Everything that is received, by the track's sid. */
async function received() {
  const found = {};
  for (const connection of connections) {
    if (connection.connectionState === "closed") continue;
    for (const entry of (await connection.getStats()).values()) {
      if (entry.type !== "inbound-rtp") continue;
      found[sids.get(entry.trackIdentifier)] = {
        kind: entry.kind,
        packets: entry.packetsReceived,
        frames: entry.framesDecoded ?? 0,
        level: entry.audioLevel ?? 0,
        energy: entry.totalAudioEnergy ?? 0,
      };
    }
  }
  return found;
}

/** Whom and what the page shows. `inside.state()` is: members, as the page knows them; keys, the indexes of everybody's
 *  by LiveKit identity; tiles, with the picture in them; and media, everything received. */
globalThis.inside = {
  async state() {
    const session = globalThis.rtcSession; // Element Call leaves it there
    const members = (session?.memberships ?? []).map(({ userId, deviceId, memberId, rtcBackendIdentity }) => ({
      user_id: userId,
      device_id: deviceId,
      member_id: memberId,
      identity: rtcBackendIdentity,
    }));
    const keys = {};
    for (const ring of session?.encryptionManager?.getEncryptionKeys().values() ?? [])
      for (const { keyIndex, rtcBackendIdentity } of ring) (keys[rtcBackendIdentity] ??= []).push(keyIndex);
    const tiles = [...document.querySelectorAll("[data-testid=videoTile]")].map((tile) => {
      const video = tile.querySelector("video");
      return {
        text: tile.innerText,
        shown: tile.dataset.videoEnabled === "true",
        own: video?.dataset.lkLocalParticipant === "true",
        track: sids.get(video?.srcObject?.getVideoTracks()[0]?.id) ?? null,
        width: video?.videoWidth ?? 0,
        height: video?.videoHeight ?? 0,
        frames: video?.getVideoPlaybackQuality().totalVideoFrames ?? 0,
      };
    });
    return { members, keys, tiles, media: await received() };
  },
};
