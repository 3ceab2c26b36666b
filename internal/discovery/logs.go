package discovery

import (
	"context"
	"log/slog"
	"regexp"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"k8s.io/klog/v2"
)

// TakeClientLogs sends client-go's log lines to log at debug level: Manager logs what matters, once. client-go has one
// log for the process, so TakeClientLogs is called at the start of the program, before discovery begins.
func TakeClientLogs(log *zap.Logger) {
	klog.SetSlogLogger(slog.New(debugHandler{zapslog.NewHandler(log.Core())}))
}

// debugHandler passes all records on at debug level.
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

// onceHandler passes warnings and errors on only when they are new. A discovery that fails at each refresh is logged
// once, until it succeeds or fails differently.
type onceHandler struct {
	slog.Handler
	report func(file, text string) (isNew bool)
}

// Enabled implements slog.Handler. Warnings reach Status even if they are below the log level.
func (h onceHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h onceHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && !h.report(recordText(r)) || !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h onceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return onceHandler{h.Handler.WithAttrs(attrs), h.report}
}

// WithGroup implements slog.Handler.
func (h onceHandler) WithGroup(name string) slog.Handler {
	return onceHandler{h.Handler.WithGroup(name), h.report}
}

// ownPort matches the local port in a network error, 52731 in "127.0.0.1:52731->127.0.0.1:80". It differs each time.
var ownPort = regexp.MustCompile(`:\d+->`)

// recordText returns the message and error of a record, and the file that it is about.
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
