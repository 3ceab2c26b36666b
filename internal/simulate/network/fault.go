package network

import (
	"net"
	"strconv"
	"time"
)

// Fault changes how packets travel between hosts, on existing and on new connections.
type Fault struct {
	Kind     Kind
	From, To string        // hosts that dial and listen: addresses, To also with a port; empty: all hosts
	Toward   Direction     // of Reset and Slow: the direction of the bytes
	After    int           // of Reset: bytes per connection and direction that pass before the reset
	Rate     int           // of Slow: bytes per second
	Delay    time.Duration // of Delay: added to the latency
}

// Kind is the kind of a fault.
type Kind uint8

const (
	Refuse    Kind = iota + 1 // dials are refused, as if nobody listened
	BlackHole                 // packets vanish; what was sent is sent again when the fault ends
	Reset                     // After bytes of each connection pass; the next byte resets it
	Slow                      // bytes pass at Rate
	Delay                     // packets take Delay longer
)

// Direction says which bytes of a connection a fault is about.
type Direction uint8

const (
	Both       Direction = iota
	ToListener           // requests
	ToDialer             // responses
)

// activeFault is a fault that has begun, with the host and port of To.
type activeFault struct {
	Fault
	toAddr string
	toPort int // 0: any
}

// Begin begins a fault. An earlier one of the same name ends.
func (n *Network) Begin(name string, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	began := activeFault{Fault: f, toAddr: f.To}
	if host, port, err := net.SplitHostPort(f.To); err == nil {
		began.toAddr = host
		began.toPort, _ = strconv.Atoi(port)
	}
	n.faults.Begin(name, began)
	n.applyFaults()
	if f.Kind == Reset {
		for _, l := range n.sortedLinks() {
			if began.concerns(l.from, l.to, l.port) {
				l.countDown(f)
			}
		}
	}
}

// End ends the fault with a name. It does nothing if there is none.
func (n *Network) End(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults.End(name)
	n.applyFaults()
}

func (f activeFault) concerns(from, to string, port int) bool {
	return (f.From == "" || f.From == from) && (f.toAddr == "" || f.toAddr == to) &&
		(f.toPort == 0 || f.toPort == port)
}

// effect is what all faults together do to packets between two hosts.
type effect struct {
	refuse, blackHole, reset bool
	delay                    time.Duration
	rate                     [2]int // bytes per second, by index of direction; 0: unlimited
}

// indexes returns the indexes of a direction in arrays of two.
func (d Direction) indexes() []int {
	switch d {
	case ToListener:
		return []int{0}
	case ToDialer:
		return []int{1}
	}
	return []int{0, 1}
}

// effectOn returns the effect of all faults. The caller holds mu.
func (n *Network) effectOn(from, to string, port int) (e effect) {
	for f := range n.faults.All() {
		if !f.concerns(from, to, port) {
			continue
		}
		switch f.Kind {
		case Refuse:
			e.refuse = true
		case BlackHole:
			e.blackHole = true
		case Reset:
			e.reset = true
		case Delay:
			e.delay += f.Delay
		case Slow:
			for _, i := range f.Toward.indexes() {
				if e.rate[i] == 0 || f.Rate < e.rate[i] {
					e.rate[i] = f.Rate
				}
			}
		}
	}
	return e
}

// applyFaults makes all connections subject to the present faults. The caller holds mu.
func (n *Network) applyFaults() {
	for _, l := range n.sortedLinks() {
		before := l.effect
		l.effect = n.effectOn(l.from, l.to, l.port)
		if !l.effect.reset {
			l.left = [2]int64{never, never}
		}
		switch {
		case l.effect.blackHole && !before.blackHole:
			l.beginSilence()
		case !l.effect.blackHole && before.blackHole && !l.vanished:
			l.endSilence()
		}
	}
}
