// One participant of a LiveKit room, as Element Call is one: shows what is published, and is driven by page.mjs.
"use strict";

const { BaseKeyProvider, Room, RoomEvent, Track, VideoPresets, version } = LivekitClient;
document.querySelector("#version").textContent = version;

/** Element Call's MatrixKeyProvider: the same options, and the same import of a key. */
class KeyProvider extends BaseKeyProvider {
  constructor() {
    super({ ratchetWindowSize: 10, keyringSize: 256 });
  }

  async set(identity, index, key) {
    const material = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits", "deriveKey"]);
    this.onSetEncryptionKey(material, identity, index);
  }
}

const keyProvider = new KeyProvider();
const worker = new Worker("livekit-client.e2ee.worker.js");
const room = new Room({ encryption: { keyProvider, worker } });
const shown = new Map(); // by identity: what is seen of its video

room.on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
  if (track.kind === Track.Kind.Video) show(participant.identity, track);
});

/** A place for a video; gives the video and its caption. */
function place(track) {
  const figure = document.createElement("figure");
  const video = track.attach();
  const caption = document.createElement("figcaption");
  figure.append(video, caption);
  document.querySelector("main").append(figure);
  return [video, caption];
}

function show(identity, track) {
  const [video, caption] = place(track);
  const seen = { track, video, frames: 0, last: null, longest: 0 };
  shown.set(identity, seen);
  const next = (now) => {
    seen.frames += 1;
    if (seen.last !== null) seen.longest = Math.max(seen.longest, now - seen.last);
    seen.last = now;
    caption.replaceChildren(identity, document.createElement("br"), small(`${seen.frames} frames shown`));
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

// What page.mjs calls.
globalThis.page = {
  async connect({ url, token }) {
    await room.setE2EEEnabled(true);
    await room.connect(url, token);
    return { identity: room.localParticipant.identity };
  },

  /** In this order; our own key is what our tracks are encrypted under from then on. */
  async keys({ keys }) {
    for (const [identity, index, key] of keys) await keyProvider.set(identity, index, bytes(key));
    return {};
  },

  /** Publish the camera, in VP8. */
  async publish() {
    const capture = { resolution: VideoPresets.h180.resolution };
    const publication = await room.localParticipant.setCameraEnabled(true, capture, { videoCodec: "vp8", simulcast: false });
    const [, caption] = place(publication.track);
    caption.append(room.localParticipant.identity, document.createElement("br"), small("our own camera"));
    return { encrypted: publication.isEncrypted };
  },

  /** What came of each video: packets that the SFU has sent, frames decoded and shown, and the longest pause between
   *  two of these since the last time this was asked, in ms. */
  async counts() {
    const videos = {};
    for (const [identity, seen] of shown) {
      const stats = [...(await seen.track.receiver.getStats()).values()].find(({ type }) => type === "inbound-rtp");
      const paused = seen.last === null ? 0 : Math.max(seen.longest, performance.now() - seen.last);
      seen.longest = 0;
      videos[identity] = {
        packets: stats?.packetsReceived ?? 0,
        decoded: stats?.framesDecoded ?? 0,
        shown: seen.frames,
        width: seen.video.videoWidth,
        paused,
      };
    }
    return { videos };
  },
};
