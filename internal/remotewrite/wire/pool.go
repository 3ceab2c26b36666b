package wire

import "sync"

// requestEncoder makes requests of messages. It keeps its memory for the next one: for requests of 2,000 samples
// about 32 KiB in 2.0 and 280 KiB in 1.0.
type requestEncoder struct {
	v1 v1Writer
	v2 requestJoiner
}

// encode returns a compressed request, valid until the next call. lost counts the samples that the protocol
// cannot carry.
func (e *requestEncoder) encode(m Message, p Protocol, histograms bool) (block []byte, lost int, err error) {
	if p == V2 {
		block, err = e.v2.encode(m)
		return block, 0, err
	}
	e.v1.begin(histograms)
	defer e.v1.forget()
	if err := e.v1.append(m); err != nil {
		return nil, 0, err
	}
	return e.v1.finish(), e.v1.unsupported, nil
}

// size is how much memory the encoder keeps.
func (e *requestEncoder) size() int {
	const ofText, ofPair, ofEdge, ofOffset = 40, 16, 8, 4
	return cap(e.v1.out) + cap(e.v2.out) + cap(e.v1.plain.text) + cap(e.v1.other) + cap(e.v1.texts.said) +
		ofText*cap(e.v1.texts.of) + ofPair*cap(e.v1.diff.own) + ofEdge*cap(e.v1.base.edges) + ofOffset*cap(e.v1.base.ended)
}

// encoders lends requestEncoders to the senders of an endpoint, each for as long as a request is made: a lane that
// waits, for an answer or for something to send, holds none. Few are kept, and one that has grown far beyond what
// requests need now is left to the garbage collector. It also lends the bodies of POSTs, which have room for up to
// twice the request and are out until it is answered. The zero value is ready; nil lends new ones only.
type Pool struct {
	mu   sync.Mutex // guards the following
	idle []*requestEncoder
	need int // about the size of the largest request of late

	bodies Buffers
}

const (
	keptEncoders = 2         // of which each keeps so much memory in any case,
	keptEncoder  = 512 << 10 // and as much as so many requests
	keptRequests = 8
)

func (p *Pool) get() *requestEncoder {
	if p == nil {
		return &requestEncoder{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle) - 1
	if n < 0 {
		return &requestEncoder{}
	}
	e := p.idle[n]
	p.idle = p.idle[:n]
	return e
}

// put takes back an encoder whose last request was so long.
func (p *Pool) put(e *requestEncoder, request int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.need = max(request, p.need-p.need/16)
	if len(p.idle) < keptEncoders && e.size() <= max(keptEncoder, keptRequests*p.need) {
		p.idle = append(p.idle, e)
	}
}

// body makes the body of a POST, which putBody takes back. lost counts the samples that the protocol cannot carry.
func (p *Pool) Body(m Message, to Protocol, histograms bool) (body []byte, lost int, err error) {
	e := p.get()
	block, lost, err := e.encode(m, to, histograms)
	body = append(p.emptyBody(len(block)), block...)
	p.put(e, len(block))
	return body, lost, err
}

// emptyBody returns an empty slice with room for n bytes.
func (p *Pool) emptyBody(n int) []byte {
	if p == nil {
		return make([]byte, 0, n)
	}
	return p.bodies.Get(n)
}

// putBody takes back what body lent and nobody reads any more.
func (p *Pool) Release(body []byte) {
	if p != nil {
		p.bodies.Put(body)
	}
}
