package deliver

import (
	"sync"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Settings say how to deliver to a receiver. They are immutable; a reload replaces them whole.
type Settings struct {
	*promconfig.RemoteWriteConfig
	Negotiate bool // protobuf_message is not configured: 2.0 is tried first, then 1.0
	Client    Client
}

// Receiver is what all senders of one endpoint know of its receiver: the settings in force, and what answers taught.
// An answer to a request that was made under older settings teaches nothing: their URL or protocol may be another.
type Receiver struct {
	log     *zap.Logger
	waiting func() (samples int, bytes int64) // in the queue, for the log
	pool    wire.Pool
	lines   LogLimit

	mu          sync.Mutex // guards the following; no other lock but that of lines is taken while it is held
	settings    *Settings
	replaced    chan struct{} // closed when settings are replaced
	negotiation negotiation
	bodyLimit   bodyLimit
	outage      outage
	rejections  rejections
}

// NewReceiver returns a receiver of which nothing is known yet.
func NewReceiver(s *Settings, waiting func() (samples int, bytes int64), log *zap.Logger) *Receiver {
	r := &Receiver{log: log, waiting: waiting, settings: s, replaced: make(chan struct{})}
	r.negotiation.reset(s)
	return r
}

// Replace puts settings into force. What was learned under the old ones is forgotten, and nobody waits by them.
func (r *Receiver) Replace(s *Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = s
	r.negotiation.reset(s)
	r.bodyLimit, r.outage.quietUntil = bodyLimit{}, time.Time{}
	close(r.replaced)
	r.replaced = make(chan struct{})
}

// current returns the settings in force and a channel that is closed when they are replaced.
func (r *Receiver) current() (*Settings, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings, r.replaced
}

// Status is the state of a receiver for people.
type Status struct {
	Protocol      wire.Protocol
	LastError     string
	LastErrorTime time.Time
	LastSuccess   time.Time
	Unreachable   bool        // the last request failed in a way that may pass
	Rejected      []Rejection // newest first
}

// Status returns the state of the receiver.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{
		Protocol:  r.negotiation.protocol,
		LastError: r.outage.lastError, LastErrorTime: r.outage.lastErrorTime, LastSuccess: r.outage.lastSuccess,
		Unreachable: !r.outage.since.IsZero(),
		Rejected:    r.rejections.newestFirst(),
	}
}

// Protocol returns the protocol in use.
func (r *Receiver) Protocol() wire.Protocol {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.negotiation.protocol
}

// Unreachable reports whether the last request failed in a way that may pass.
func (r *Receiver) Unreachable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.outage.since.IsZero()
}
