package deliver

import (
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// probeInterval is the time between attempts at 2.0 with a receiver that turned it down.
const probeInterval = time.Hour

// negotiation decides between remote write 2.0 and 1.0. Guarded by Receiver.mu.
type negotiation struct {
	protocol  wire.Protocol
	confirmed bool      // the receiver has shown that it knows 2.0
	probeAt   time.Time // when to try 2.0 again
}

// reset starts with the protocol of the settings.
func (n *negotiation) reset(s *Settings) {
	*n = negotiation{protocol: wire.V1}
	if s.Negotiate || s.ProtobufMessage == remoteapi.WriteV2MessageType {
		n.protocol = wire.V2
	}
}

// choose returns the protocol of the next request: instead, unless that is 0. The receiver has not confirmed 2.0 where
// unproven. Not ok: s is no longer in force.
func (r *Receiver) choose(s *Settings, instead wire.Protocol) (p wire.Protocol, unproven, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s || instead != 0 {
		return instead, false, r.settings == s
	}
	n := &r.negotiation
	if s.Negotiate && n.protocol == wire.V1 && !time.Now().Before(n.probeAt) {
		n.probeAt = time.Now().Add(probeInterval)
		return wire.V2, true, true
	}
	return n.protocol, s.Negotiate && !n.confirmed, true
}

// leave changes from protocol p, which the receiver does not take, to the other one. False: the configuration names
// the protocol.
func (r *Receiver) leave(p wire.Protocol, s *Settings) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s {
		return true // to the protocol of the new settings
	}
	if !s.Negotiate {
		return false
	}
	if p == wire.V2 {
		r.negotiation.confirmed, r.negotiation.probeAt = false, time.Now().Add(probeInterval)
	}
	r.speak(p.Other())
	return true
}

// confirm notes that the receiver takes 2.0. The caller holds mu.
func (r *Receiver) confirm(s *Settings) {
	r.negotiation.confirmed = true
	if s.Negotiate {
		r.speak(wire.V2)
	}
}

// speak changes the protocol, if it is another one, and logs that. The caller holds mu.
func (r *Receiver) speak(p wire.Protocol) {
	if r.negotiation.protocol != p {
		r.negotiation.protocol = p
		r.log.Info("remote write protocol changed", zap.Stringer("to", p))
	}
}
