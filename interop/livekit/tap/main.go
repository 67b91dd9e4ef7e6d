// Command tap joins a room of a LiveKit server as a participant without a key, and writes what the server has.
//
//	printf '%s\n' "$TOKEN" | tap ws://127.0.0.1:7880
//
// It speaks LiveKit's signalling (one WebSocket of protobuf messages) and takes the transport's own encryption off, as
// the server does. What is below it stays as it is. The token is the first line of the input; tap ends, with status 0,
// where the input ends, and with 1 where it is sent away.
//
// Out come lines of JSON, with `kind`:
//   - joined: we are in the room. `payload` is the trailer that marks the frames which the server itself makes.
//   - audio, video: a frame, put together from its packets. `codec` is its MIME type, `sid` its track's.
//   - data: a packet. `codec` is the name of its field in LiveKit's DataPacket; of an encrypted one come `iv` and
//     `index` too, and `payload` is what it encrypts; of one in clear, all of that field.
//   - end: `dropped` counts the packets that fit in no frame, padding included.
//
// `identity` is who the server says has sent it. Bytes are in base64.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/livekit/protocol/livekit"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"
	"google.golang.org/protobuf/proto"
)

const (
	protocol = "9"  // of signalling: the server offers what it sends us
	late     = 1024 // packets that a frame's missing one is waited for
	patience = 10 * time.Second
	ping     = 5 * time.Second
)

type line struct {
	Kind     string `json:"kind"`
	Identity string `json:"identity,omitempty"`
	Sid      string `json:"sid,omitempty"`
	Codec    string `json:"codec,omitempty"`
	IV       []byte `json:"iv,omitempty"`
	Index    uint32 `json:"index"`
	Payload  []byte `json:"payload"`
	Dropped  int    `json:"dropped,omitempty"`
}

type tap struct {
	socket  *websocket.Conn
	peer    *webrtc.PeerConnection
	writing sync.Mutex // the socket
	told    sync.Mutex // what follows
	out     *json.Encoder
	names   map[string]string // identities, by the server's id of a participant
	early   []webrtc.ICECandidateInit
	dropped int
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tap URL <TOKEN")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "tap:", err)
		os.Exit(1)
	}
}

func run(server string) error {
	input := bufio.NewReader(os.Stdin)
	token, err := input.ReadString('\n')
	if err != nil {
		return errors.New("the input has no token")
	}
	query := url.Values{"access_token": {strings.TrimSpace(token)}, "protocol": {protocol}, "auto_subscribe": {"1"}}
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	socket, answer, err := dialer.Dial(strings.TrimRight(server, "/")+"/rtc?"+query.Encode(), nil)
	if err != nil {
		if answer != nil {
			return fmt.Errorf("the server refuses us: %s", answer.Status)
		}
		return errors.New("the server cannot be reached")
	}
	defer socket.Close()

	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	peer, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer peer.Close()

	t := &tap{socket: socket, peer: peer, out: json.NewEncoder(os.Stdout), names: map[string]string{}}
	peer.OnICECandidate(t.candidate)
	peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { t.frames(track) })
	peer.OnDataChannel(func(channel *webrtc.DataChannel) { channel.OnMessage(t.data) })

	over := make(chan error, 2)
	go func() {
		_, err := input.WriteTo(discard{})
		over <- err
	}()
	go func() { over <- t.listen() }()
	err = <-over
	t.told.Lock()
	defer t.told.Unlock()
	return errors.Join(err, t.out.Encode(line{Kind: "end", Dropped: t.dropped}))
}

type discard struct{}

func (discard) Write(data []byte) (int, error) { return len(data), nil }

// listen does what signalling asks, until the server ends it.
func (t *tap) listen() error {
	go func() {
		for range time.Tick(ping) {
			t.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Ping{Ping: time.Now().UnixMilli()}})
		}
	}()
	for {
		_, data, err := t.socket.ReadMessage()
		if err != nil {
			return errors.New("the server has closed the connection")
		}
		var response livekit.SignalResponse
		if err := proto.Unmarshal(data, &response); err != nil {
			return err
		}
		switch message := response.Message.(type) {
		case *livekit.SignalResponse_Join:
			t.name(message.Join.OtherParticipants)
			t.write(line{Kind: "joined", Payload: message.Join.SifTrailer})
		case *livekit.SignalResponse_Update:
			t.name(message.Update.Participants)
		case *livekit.SignalResponse_Offer:
			err = t.answer(message.Offer)
		case *livekit.SignalResponse_Trickle:
			err = t.trickle(message.Trickle)
		case *livekit.SignalResponse_Leave:
			err = fmt.Errorf("the server sends us away: %s", message.Leave.Reason)
		}
		if err != nil {
			return err
		}
	}
}

func (t *tap) name(participants []*livekit.ParticipantInfo) {
	t.told.Lock()
	defer t.told.Unlock()
	for _, one := range participants {
		t.names[one.Sid] = one.Identity
	}
}

func (t *tap) answer(offer *livekit.SessionDescription) error {
	described := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.Sdp}
	if err := t.peer.SetRemoteDescription(described); err != nil {
		return err
	}
	for _, candidate := range t.early {
		if err := t.peer.AddICECandidate(candidate); err != nil {
			return err
		}
	}
	t.early = nil
	answer, err := t.peer.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := t.peer.SetLocalDescription(answer); err != nil {
		return err
	}
	said := &livekit.SessionDescription{Type: answer.Type.String(), Sdp: answer.SDP, Id: offer.Id}
	t.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Answer{Answer: said}})
	return nil
}

// trickle takes an address of the server's. Those of the connection that we would send by are of no use to us.
func (t *tap) trickle(trickle *livekit.TrickleRequest) error {
	if trickle.Target != livekit.SignalTarget_SUBSCRIBER {
		return nil
	}
	var candidate webrtc.ICECandidateInit
	if err := json.Unmarshal([]byte(trickle.CandidateInit), &candidate); err != nil {
		return err
	}
	if t.peer.RemoteDescription() == nil {
		t.early = append(t.early, candidate)
		return nil
	}
	return t.peer.AddICECandidate(candidate)
}

func (t *tap) candidate(candidate *webrtc.ICECandidate) {
	if candidate == nil {
		return
	}
	init, err := json.Marshal(candidate.ToJSON())
	if err != nil {
		return
	}
	trickle := &livekit.TrickleRequest{CandidateInit: string(init), Target: livekit.SignalTarget_SUBSCRIBER}
	t.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Trickle{Trickle: trickle}})
}

// send ends nothing where it fails: listen is told.
func (t *tap) send(request *livekit.SignalRequest) {
	data, err := proto.Marshal(request)
	if err != nil {
		panic(err)
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	_ = t.socket.WriteMessage(websocket.BinaryMessage, data)
}

// frames writes the frames of a track until it ends.
func (t *tap) frames(track *webrtc.TrackRemote) {
	var packets rtp.Depacketizer
	mime := track.Codec().MimeType
	switch mime {
	case webrtc.MimeTypeOpus:
		packets = &codecs.OpusPacket{}
	case webrtc.MimeTypeVP8:
		packets = &codecs.VP8Packet{}
	default:
		fmt.Fprintln(os.Stderr, "tap: frames of", mime, "cannot be put together")
		return
	}
	participant, _, _ := strings.Cut(track.StreamID(), "|")
	builder := samplebuilder.New(late, packets, track.Codec().ClockRate)
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		builder.Push(packet)
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			t.told.Lock()
			name := t.names[participant]
			t.dropped += int(sample.PrevDroppedPackets)
			t.told.Unlock()
			t.write(line{Kind: track.Kind().String(), Identity: name, Sid: track.ID(), Codec: mime, Payload: sample.Data})
		}
	}
}

func (t *tap) data(message webrtc.DataChannelMessage) {
	var packet livekit.DataPacket
	if err := proto.Unmarshal(message.Data, &packet); err != nil {
		fmt.Fprintln(os.Stderr, "tap: a data packet cannot be read")
		return
	}
	told := line{Kind: "data", Identity: packet.ParticipantIdentity, Payload: message.Data}
	if encrypted := packet.GetEncryptedPacket(); encrypted != nil {
		told.IV, told.Index, told.Payload = encrypted.Iv, encrypted.KeyIndex, encrypted.EncryptedValue
	}
	reflected := packet.ProtoReflect()
	if field := reflected.WhichOneof(reflected.Descriptor().Oneofs().ByName("value")); field != nil {
		told.Codec = string(field.Name())
	}
	t.write(told)
}

func (t *tap) write(told line) {
	t.told.Lock()
	defer t.told.Unlock()
	if err := t.out.Encode(told); err != nil {
		os.Exit(0) // nobody reads
	}
}
