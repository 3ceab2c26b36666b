package network

import (
	"net"
	"syscall"
	"time"
)

const (
	// keepAliveTimeout is how long an idle connection without a peer lasts: a probe after 30 s, nine more every 15 s.
	keepAliveTimeout = 165 * time.Second
	// retransmitTimeout is how long a connection with unacknowledged bytes lasts (net.ipv4.tcp_retries2 = 15).
	retransmitTimeout = 924 * time.Second
	// maxRetransmitPause is the longest pause before a packet is sent again.
	maxRetransmitPause = 120 * time.Second
)

// link is a connection with its two ends. Network.mu guards it.
type link struct {
	net      *Network
	id       uint64
	from, to string // addresses of the hosts that dial and listen
	port     int    // of the listener
	base     time.Duration
	ends     [2]*Conn // who listens, who dials: the bytes of direction i are read by ends[i]
	effect   effect
	left     [2]int64 // bytes of a direction that pass before a reset
	vanished bool     // an end is on a machine without power
	silent   int64    // since when packets vanish
}

// newLink makes a connection and returns the end of the host that dials. The caller holds mu.
func newLink(from, to *Host, local, remote *net.TCPAddr) *Conn {
	n := from.net
	n.lastID++
	l := &link{
		net: n, id: n.lastID, from: from.addr, to: to.addr, port: remote.Port, base: n.latencyOf(from.addr, to.addr),
		left: [2]int64{never, never},
	}
	l.effect = n.effectOn(l.from, l.to, l.port)
	for f := range n.faults.All() {
		if f.Kind == Reset && f.concerns(l.from, l.to, l.port) {
			l.countDown(f.Fault)
		}
	}
	toListener, toDialer := &half{finAt: never}, &half{finAt: never}
	dialer := &Conn{link: l, host: from, local: local, remote: remote, in: toDialer, out: toListener, toward: 0}
	accepted := &Conn{link: l, host: to, local: remote, remote: local, in: toListener, out: toDialer, toward: 1}
	dialer.peer, accepted.peer = accepted, dialer
	for _, c := range []*Conn{dialer, accepted} {
		c.resetAt = never
		c.readers.init(&n.mu)
		c.writers.init(&n.mu)
		c.host.ends[c] = true
	}
	l.ends = [2]*Conn{accepted, dialer}
	n.links[l.id] = l
	return dialer
}

// latency returns how long a packet takes.
func (l *link) latency() time.Duration { return l.base + l.effect.delay }

// isSilent reports whether packets vanish.
func (l *link) isSilent() bool { return l.vanished || l.effect.blackHole }

// countDown begins to count the bytes that pass before a reset.
func (l *link) countDown(f Fault) {
	for _, i := range f.Toward.indexes() {
		l.left[i] = min(l.left[i], int64(f.After))
	}
}

// beginSilence loses the packets under way, and sets when the ends give up.
func (l *link) beginSilence() {
	n := l.net
	l.silent = n.now()
	for _, reader := range l.ends {
		reader.in.lose(l.silent)
		if reader.resetAt > l.silent {
			reader.resetAt = never
		}
	}
	for _, c := range l.ends {
		if c.closed {
			continue
		}
		timeout := keepAliveTimeout
		if c.out.inFlight() {
			timeout = retransmitTimeout
		}
		n.failAt(c, n.moment(timeout), syscall.ETIMEDOUT)
	}
}

// endSilence sends again what was lost.
func (l *link) endSilence() {
	n := l.net
	longest := min(time.Duration(n.now()-l.silent), maxRetransmitPause)
	for _, reader := range l.ends {
		if reader.resetAt > n.now() {
			reader.resetAt = never
		}
	}
	for _, reader := range l.ends {
		if !reader.in.lost() {
			continue
		}
		again := l.latency() + time.Duration(n.rnd.Int64N(int64(longest)+1))
		if reader.closed { // its kernel does not know the connection
			n.resetAt(reader.peer, n.moment(again+l.latency()))
		} else {
			reader.in.sendAgain(n.momentAfter(n.now()+int64(again), reader.in.lastAt), n)
			reader.readers.wakeAt(reader.in.next(), n)
		}
	}
}

// resetAt schedules the arrival of a reset at an end, unless packets vanish. The caller holds mu.
func (n *Network) resetAt(c *Conn, at int64) {
	if !c.link.isSilent() {
		n.failAt(c, at, syscall.ECONNRESET)
	}
}

// failAt schedules the failure of an end, unless it fails earlier. The caller holds mu.
func (n *Network) failAt(c *Conn, at int64, why syscall.Errno) {
	if c.closed || at >= c.resetAt {
		return
	}
	c.resetAt, c.resetErr = at, why
	c.readers.wakeAt(at, n)
	c.writers.wakeAt(at, n)
}

// half is one direction of a connection: bytes that were written and not yet read.
type half struct {
	bytes  []byte
	start  int     // of the unread bytes
	chunks []chunk // that were not read whole, in order
	first  int     // index of the first of them
	sent   int64
	taken  int64 // read or thrown away
	read   int64
	lastAt int64 // when the last chunk arrives
	freeAt int64 // when the line is free, with a limited rate
	finAt  int64 // when the end of the stream arrives
	finOut bool  // the end of the stream was sent
}

// chunk is bytes that arrive together.
type chunk struct {
	end int64 // the offset in the stream after its last byte
	at  int64 // when it arrives
}

// next returns when the next event of the direction arrives.
func (h *half) next() int64 {
	if h.first < len(h.chunks) {
		return h.chunks[h.first].at
	}
	return h.finAt
}

// inFlight reports whether something was sent that the other end has not read.
func (h *half) inFlight() bool { return h.first < len(h.chunks) || h.finOut && h.finAt == never }

// put adds bytes that arrive at a time.
func (h *half) put(b []byte, at int64) {
	if h.start == len(h.bytes) {
		h.bytes, h.start, h.chunks, h.first = h.bytes[:0], 0, h.chunks[:0], 0
	} else if h.start > window {
		h.bytes = h.bytes[:copy(h.bytes, h.bytes[h.start:])]
		h.chunks = h.chunks[:copy(h.chunks, h.chunks[h.first:])]
		h.start, h.first = 0, 0
	}
	h.bytes = append(h.bytes, b...)
	h.sent += int64(len(b))
	h.chunks = append(h.chunks, chunk{end: h.sent, at: at})
	if at != never {
		h.lastAt = at
	}
}

// take reads bytes that have arrived by a time.
func (h *half) take(p []byte, by int64) int {
	end := h.taken
	for i := h.first; i < len(h.chunks) && h.chunks[i].at <= by; i++ {
		end = h.chunks[i].end
		if end-h.taken >= int64(len(p)) {
			break
		}
	}
	n := copy(p, h.bytes[h.start:h.start+int(end-h.taken)])
	h.start += n
	h.taken += int64(n)
	h.read += int64(n)
	for h.first < len(h.chunks) && h.chunks[h.first].end <= h.taken {
		h.first++
	}
	return n
}

// discard counts bytes that were written, and that nobody will read.
func (h *half) discard(bytes int) {
	h.drop()
	h.sent += int64(bytes)
	h.taken = h.sent
}

// drop throws away what was not read.
func (h *half) drop() { h.bytes, h.start, h.chunks, h.first, h.taken = nil, 0, nil, 0, h.sent }

// room returns how many bytes may be written.
func (h *half) room() int { return window - int(h.sent-h.taken) }

// lose loses what arrives after a time.
func (h *half) lose(after int64) {
	for i := h.first; i < len(h.chunks); i++ {
		if h.chunks[i].at > after {
			h.chunks[i].at = never
		}
	}
	if h.finAt > after {
		h.finAt = never
	}
}

// lost reports whether something was lost.
func (h *half) lost() bool {
	return h.finOut && h.finAt == never || h.first < len(h.chunks) && h.chunks[len(h.chunks)-1].at == never
}

// sendAgain schedules the arrival of all that was lost at one time.
func (h *half) sendAgain(at int64, n *Network) {
	for i := h.first; i < len(h.chunks); i++ {
		if h.chunks[i].at == never {
			h.chunks[i].at = at
			h.lastAt = at
		}
	}
	if h.finOut && h.finAt == never {
		h.finAt = n.momentAfter(at, at)
	}
}
