package deliver

import (
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// bodyLimitDoubles is how often the learned limit doubles, so that a limit that was raised at the receiver is noticed.
const bodyLimitDoubles = 10 * time.Minute

// bodyLimit is the largest request body that a receiver takes, as far as is known. Guarded by Receiver.mu.
type bodyLimit struct {
	bytes int // of a body that arrived after a larger one was refused as too large (413); 0: no limit is known
	at    time.Time
}

// learnMaxBody notes that a body of this size arrived, after one of tooLarge bytes was refused as too large.
func (r *Receiver) learnMaxBody(s *Settings, bytes, tooLarge int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s {
		return
	}
	l := &r.bodyLimit
	if l.bytes == 0 {
		r.log.Info("remote write endpoint refuses requests as too large, later ones are divided before they are sent",
			zap.Int("bytes", bytes), zap.String("fix", "raise the receiver's limit, or lower max_samples_per_send"))
	}
	if l.bytes < tooLarge { // the limit that is known may still be right
		bytes = max(bytes, l.bytes)
	}
	l.bytes, l.at = bytes, time.Now()
}

// maxBody returns the size above which a request is divided before it is sent; 0: no limit is known.
func (r *Receiver) maxBody() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.bodyLimit
	doublings := time.Since(l.at) / bodyLimitDoubles
	if l.bytes == 0 || doublings > 30 || l.bytes > wire.MaxPlainBytes>>doublings {
		return 0
	}
	return l.bytes << doublings
}
