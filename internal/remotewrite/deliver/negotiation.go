package deliver

import (
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// probeInterval is the time between attempts at 2.0 with a receiver that turned it down.
const probeInterval = time.Hour

// negotiation decides between remote write 2.0 and 1.0. If the configuration names the protocol (not Negotiate), it
// stays.
type negotiation struct {
	protocol  wire.Protocol
	confirmed bool      // the receiver has shown that it knows 2.0
	probeAt   time.Time // when to try 2.0 again
}

// newNegotiation starts with the protocol of the settings.
func newNegotiation(s *Settings) negotiation {
	if s.Negotiate || s.ProtobufMessage == remoteapi.WriteV2MessageType {
		return negotiation{protocol: wire.V2}
	}
	return negotiation{protocol: wire.V1}
}

// choose returns the protocol of the next request. The receiver has not confirmed 2.0 where unproven.
func (n *negotiation) choose(s *Settings) (p wire.Protocol, unproven bool) {
	if s.Negotiate && n.protocol == wire.V1 && !time.Now().Before(n.probeAt) {
		n.probeAt = time.Now().Add(probeInterval)
		return wire.V2, true
	}
	return n.protocol, s.Negotiate && !n.confirmed
}

// leave changes from p, which the receiver does not take, to the other protocol. It reports whether the protocol in use
// changed.
func (n *negotiation) leave(p wire.Protocol) (changed bool) {
	if p == wire.V2 {
		n.confirmed, n.probeAt = false, time.Now().Add(probeInterval)
	}
	return n.use(p.Other())
}

// confirm notes that the receiver takes 2.0. It reports whether the protocol in use changed.
func (n *negotiation) confirm(s *Settings) (changed bool) {
	n.confirmed = true
	return s.Negotiate && n.use(wire.V2)
}

func (n *negotiation) use(p wire.Protocol) (changed bool) {
	changed = n.protocol != p
	n.protocol = p
	return changed
}
