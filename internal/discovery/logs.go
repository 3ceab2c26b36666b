package discovery

import (
	"context"
	"log/slog"
	"regexp"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"k8s.io/klog/v2"
)

// TakeClientLogs makes client-go's own lines debug lines of log: what matters of them is said by Manager, once.
// client-go has one log for the whole process, so this is for the start of a program, before anything discovers.
func TakeClientLogs(log *zap.Logger) {
	klog.SetSlogLogger(slog.New(debugHandler{zapslog.NewHandler(log.Core())}))
}

// debugHandler passes everything on as a debug line.
type debugHandler struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h debugHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (h debugHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h debugHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h debugHandler) WithGroup(name string) slog.Handler {
	return debugHandler{h.Handler.WithGroup(name)}
}

// onceHandler passes on warnings and errors only when they say something new: a discovery that fails at each refresh
// is said once, until it works again or fails otherwise.
type onceHandler struct {
	slog.Handler
	said func(file, text string) (news bool)
}

// Enabled implements slog.Handler: problems are kept for Status even where nothing is logged.
func (h onceHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h onceHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !h.said(recordText(r)) || !h.Handler.Enabled(ctx, r.Level) {
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

// ownPort is the port of a connection's own end in an error of the network, another one each time.
var ownPort = regexp.MustCompile(`:\d+->`)

// recordText is what a record says, its message and its error, and the file that it is about.
func recordText(r slog.Record) (file, text string) {
	var failure string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "err", "error":
			failure += ": " + ownPort.ReplaceAllString(a.Value.String(), "->")
		case "path":
			file = a.Value.String()
		}
		return true
	})
	if text = r.Message; file != "" {
		text += " " + file
	}
	return file, text + failure
}
