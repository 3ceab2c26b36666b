package discovery

import (
	"context"
	"log/slog"
)

// onceHandler passes on warnings and errors only when they say something new: a discovery that fails at each refresh
// is said once, until it works again or fails otherwise.
type onceHandler struct {
	slog.Handler
	said func(file, text string) (news bool)
}

// Handle implements slog.Handler.
func (h onceHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !h.said(recordText(r)) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h onceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return onceHandler{h.Handler.WithAttrs(attrs), h.said}
}

// WithGroup implements slog.Handler.
func (h onceHandler) WithGroup(name string) slog.Handler {
	return onceHandler{h.Handler.WithGroup(name), h.said}
}

// recordText is what a record says, its message and its error, and the file that it is about.
func recordText(r slog.Record) (file, text string) {
	text = r.Message
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "err", "error":
			text += ": " + a.Value.String()
		case "path":
			file = a.Value.String()
		}
		return true
	})
	return file, text
}
