package wire

import "math"

// joinedMessage is a message that columnJoiner has made as the body of a 1.0 request. Anything else of it is made of
// the columns again, when it is needed: the body of another POST, of 2.0, or the series, if the receiver refuses some.
type joinedMessage struct {
	group []Message // of Merge
	part  joinedPart
	body  []byte // for the first POST; nil: it was taken or released
}

// joinedPart is a part of the rows of a group, up to a position.
type joinedPart struct{ from, to rowPosition }

// rowPosition is a row of a layout.
type rowPosition struct {
	stream int // its index in columnJoiner.streams
	row    int
}

// allRows is the whole of a group.
func allRows() joinedPart { return joinedPart{to: rowPosition{stream: math.MaxInt}} }

// has reports whether the part may have rows of a stream.
func (p *joinedPart) has(stream int) bool { return p.from.stream <= stream && stream <= p.to.stream }

// rows returns which rows of a stream that has this number of rows are in the part.
func (p *joinedPart) rows(stream, n int) (from, to int) {
	if to = n; stream == p.to.stream {
		to = min(n, p.to.row)
	}
	if stream == p.from.stream {
		from = min(to, p.from.row)
	}
	return from, to
}

// takeBody returns the body of a POST.
func (m *joinedMessage) takeBody(p *Pool) (body []byte, err error) {
	if m.body == nil {
		made, err := m.make(Limits{BytesV1: math.MaxInt}, p)
		if err != nil {
			return nil, err
		}
		m.body = made.joined.body
	}
	body, m.body = m.body, nil
	return body, nil
}

// make makes the message again.
func (m *joinedMessage) make(most Limits, p *Pool) (Message, error) {
	j := p.takeJoiner()
	j.take(m.group)
	out, err := j.join(m.group, m.part, most, p)
	p.putJoiner(j)
	if err == nil && len(out) != 1 {
		p.ReleaseMerged(out)
		err = errDamaged
	}
	if err != nil {
		return Message{}, err
	}
	return out[0], nil
}
