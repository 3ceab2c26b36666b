package wire

import (
	"encoding/binary"
	"sync"
)

// Pool merges messages and makes the bodies of POSTs. It reuses encoders and mergers, each only while a request is
// made: a lane that waits, for an answer or for samples, holds none. It keeps few, and none that has grown far beyond
// what requests need now. It also reuses bodies, which have room for up to twice the request, and are in use until it
// is answered. The zero value is ready; a nil Pool reuses nothing.
type Pool struct {
	mu        sync.Mutex // guards the following
	idle      []*v1Writer
	need      int           // about the size of the largest recent request that an encoder has made
	merger    *merger       // idle; nil: there is none
	mergeNeed int           // about the size of the largest recent group, unpacked
	joiner    *columnJoiner // idle; nil: there is none
	joinNeed  int           // about the memory that the largest recent group of columns needed

	bodies Buffers
}

const (
	keptEncoders = 2         // idle encoders
	keptEncoder  = 512 << 10 // bytes that an idle encoder may keep, or
	keptRequests = 8         // times the size of a request, if that is more
	keptMerger   = 1 << 20   // bytes that an idle merger may keep, or
	keptGroups   = 4         // times the size of a group, if that is more
)

func (p *Pool) get() *v1Writer {
	if p == nil {
		return &v1Writer{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle) - 1
	if n < 0 {
		return &v1Writer{}
	}
	e := p.idle[n]
	p.idle = p.idle[:n]
	return e
}

// put takes back an encoder, and notes the size of its last request.
func (p *Pool) put(e *v1Writer, request int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.need = max(request, p.need-p.need/16)
	if len(p.idle) < keptEncoders && e.kept() <= max(keptEncoder, keptRequests*p.need) {
		p.idle = append(p.idle, e)
	}
}

// Body returns the body of a POST. Release takes it back. lost is the number of samples that the protocol cannot
// carry.
func (p *Pool) Body(m Message, to Protocol, histograms bool) (body []byte, lost int, err error) {
	if m.joined != nil {
		if to == V1 {
			body, err = m.joined.takeBody(p)
			return body, 0, err
		}
		if m, err = m.joined.make(Limits{}, p); err != nil {
			return nil, 0, err
		}
		defer p.ReleaseMerged([]Message{m})
	}
	if to == V2 {
		body, err = appendRequestV2(p.emptyBody(m.size()), m)
		return body, 0, err
	}
	e := p.get()
	block, lost, err := e.encode(m, histograms)
	if err == nil {
		body = append(p.emptyBody(len(block)), block...)
	}
	p.put(e, len(block))
	return body, lost, err
}

// PlainSize returns the size of the plain text of a body.
func PlainSize(body []byte) int {
	size, _ := binary.Uvarint(body)
	return int(size)
}

// emptyBody returns an empty slice with room for n bytes.
func (p *Pool) emptyBody(n int) []byte {
	if p == nil {
		return make([]byte, 0, n)
	}
	return p.bodies.Get(n)
}

// Release takes back a body that nobody reads any more.
func (p *Pool) Release(body []byte) {
	if p != nil {
		p.bodies.Put(body)
	}
}

// Merge makes messages of a group of messages, which are in the order of delivery: each series, by the texts of its
// labels, has all its samples in one TimeSeries of one message. The samples of a series must be in ascending order of
// time. Messages may have a Layout; those of the result do not. The first messages of the result have the streams that
// are only columns of one layout each, the others all the rest. A change between floats and native histograms within a
// series begins another message. Messages of columns are made as 1.0 if the limits say so; they need the group as it is
// until they are delivered. The result is to be sent in its order. MayHaveArrived of a message: it has samples of
// a message that may have arrived. Oldest and Newest are those of the messages that its samples come from.
//
// An error means that a message is damaged, or does not have as many samples as it says. ReleaseMerged takes the
// result back.
func (p *Pool) Merge(group []Message, most Limits) ([]Message, error) {
	j := p.takeJoiner()
	others := j.take(group)
	out, err := j.join(group, allRows(), most, p)
	p.putJoiner(j)
	if err != nil || len(others) == 0 {
		return out, err
	}
	m := p.takeMerger()
	more, err := m.merge(others, most, p)
	p.putMerger(m)
	if err != nil {
		p.ReleaseMerged(out)
		return nil, err
	}
	return append(out, more...), nil
}

func (p *Pool) takeJoiner() *columnJoiner {
	if p == nil {
		return &columnJoiner{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.joiner
	if p.joiner = nil; j == nil {
		j = &columnJoiner{}
	}
	return j
}

// putJoiner takes back a joiner, and notes how much memory its last group needed.
func (p *Pool) putJoiner(j *columnJoiner) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if j.need > 0 { // else the group had no columns
		p.joinNeed = max(j.need, p.joinNeed-p.joinNeed/16)
	}
	if j.kept() <= max(keptMerger, keptGroups*p.joinNeed) {
		p.joiner = j
	}
}

func (p *Pool) takeMerger() *merger {
	if p == nil {
		return &merger{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.merger
	if p.merger = nil; m == nil {
		m = &merger{}
	}
	return m
}

// putMerger takes back a merger, and notes the size of its last group.
func (p *Pool) putMerger(m *merger) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mergeNeed = max(m.plain.size, p.mergeNeed-p.mergeNeed/16)
	if m.size() <= max(keptMerger, keptGroups*p.mergeNeed) {
		p.merger = m
	}
}

// ReleaseMerged takes back messages that Merge has made and that nobody reads any more.
func (p *Pool) ReleaseMerged(merged []Message) {
	for _, m := range merged {
		for _, f := range m.Fragments {
			p.Release(f)
		}
	}
	p.ReleaseBodies(merged)
}

// ReleaseBodies takes back the bodies of messages that Merge has made as 1.0. They are made again when they are needed.
func (p *Pool) ReleaseBodies(merged []Message) {
	for _, m := range merged {
		if m.joined != nil {
			p.Release(m.joined.body)
			m.joined.body = nil
		}
	}
}
