package deliver

import (
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// bodyLimitDoubles is how often the learned limit doubles, so that a limit that was raised at the receiver is noticed.
const bodyLimitDoubles = 10 * time.Minute

// bodyLimit is the largest request body that a receiver takes, as far as is known. The zero value: no limit is known.
type bodyLimit struct {
	bytes int // of a body that arrived after a larger one was refused as too large (413)
	at    time.Time
}

// learn notes that a body of this size arrived, after one of tooLarge bytes was refused as too large.
func (l *bodyLimit) learn(bytes, tooLarge int) {
	if l.bytes < tooLarge { // the limit that is known may still be right
		bytes = max(bytes, l.bytes)
	}
	l.bytes, l.at = bytes, time.Now()
}

// now returns the size above which a request is divided before it is sent; 0: no limit is known.
func (l *bodyLimit) now() int {
	doublings := time.Since(l.at) / bodyLimitDoubles
	if l.bytes == 0 || doublings > 30 || l.bytes > wire.MaxPlainBytes>>doublings {
		return 0
	}
	return l.bytes << doublings
}
