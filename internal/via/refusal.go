package via

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxStatusBytes limits how much of an answer is read to find out whether the API server made it. A Status has some
// hundred bytes.
const maxStatusBytes = 64 << 10

// auditHeader is the header that kube-apiserver adds to each response.
const auditHeader = "Audit-Id"

// maxMessage limits what a Refusal quotes of the API server, which may in turn quote a pod.
const maxMessage = 200

// ReasonUnreachable is the reason of a Refusal if the API server cannot connect to the pod.
const ReasonUnreachable = "unreachable" // 503

// The other reasons of refusals, as the label reason of the metric.
const (
	reasonUnauthorized = "unauthorized" // 401
	reasonForbidden    = "forbidden"    // 403
	reasonGone         = "pod_gone"     // 404
	reasonAddress      = "address"      // 400: loopback, link-local or none
	reasonBusy         = "busy"         // 429
	reasonOther        = "other"
)

// Refusal is an answer of the API server itself, instead of the pod. Its text says what to do.
type Refusal struct {
	Code   int    // HTTP status; 0: the pod did not answer in time
	Reason string // one word, see docs/metrics.md
	text   string
}

// Error implements error.
func (r *Refusal) Error() string { return r.text }

// ServerError is the error of a request to which the API server gave no answer.
type ServerError struct {
	Server string // its address
	Err    error
}

// Error implements error.
func (e *ServerError) Error() string {
	return fmt.Sprintf("the API server %s gives no answer: %v", e.Server, e.Err)
}

// Unwrap returns the cause.
func (e *ServerError) Unwrap() error { return e.Err }

// readRefusal returns the refusal that a response is, or nil if the pod has answered. The body of the pod's answer can
// still be read from its beginning.
//
// A refusal is JSON of kind Status. A pod that answers so, too, is taken for the API server; it only changes the words
// of its own error. kube-apiserver adds Audit-Id to each response, a pod's too. An error without it comes from a load
// balancer or proxy that stands before the API server.
func readRefusal(resp *http.Response, pod Pod, port string) (*Refusal, error) {
	if resp.StatusCode < http.StatusBadRequest {
		return nil, nil
	}
	refusal, err := readStatus(resp, pod, port)
	if err == nil && refusal == nil && resp.Header.Get(auditHeader) == "" {
		refusal = &Refusal{Code: resp.StatusCode, Reason: reasonOther, text: fmt.Sprintf("something in front of the "+
			"API server answers %d, such as a proxy or load balancer: the answer has no %s", resp.StatusCode,
			auditHeader)}
	}
	return refusal, err
}

// readStatus is readRefusal for a Status.
func readStatus(resp *http.Response, pod Pod, port string) (*Refusal, error) {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "application/json" {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" || status.APIVersion != "v1" {
		return nil, nil
	}
	return newRefusal(resp.StatusCode, status.Message, pod, port), nil
}

// newRefusal says in words what the API server refuses. It is the only place that interprets its status.
func newRefusal(code int, message string, pod Pod, port string) *Refusal {
	r := &Refusal{Code: code, Reason: reasonOther}
	said := printable(message)
	if len(said) > maxMessage {
		said = strings.ToValidUTF8(said[:maxMessage], "") + "…"
	}
	switch code {
	case http.StatusUnauthorized:
		r.Reason = reasonUnauthorized
		r.text = "the API server does not accept your credentials (401): log in again; kubectl auth whoami asks it " +
			"who you are"
	case http.StatusForbidden:
		r.Reason = reasonForbidden
		r.text = fmt.Sprintf("the API server does not let you read pages of pods in namespace %s (403): check with "+
			"kubectl auth can-i get pods/proxy -n %s, and ask for a role that has it (%s)", pod.Namespace,
			pod.Namespace, said)
	case http.StatusNotFound:
		r.Reason = reasonGone
		r.text = fmt.Sprintf("the API server has no pod %s: the name is wrong, or the pod was deleted (404)", pod)
	case http.StatusBadRequest:
		r.Reason = reasonAddress
		r.text = fmt.Sprintf("the API server does not connect to the address of pod %s (400: %s): it is loopback or "+
			"link-local, or the pod has none yet", pod, said)
	case http.StatusTooManyRequests:
		r.Reason = reasonBusy
		r.text = fmt.Sprintf("the API server is overloaded (429: %s): send fewer requests at the same time, or send "+
			"them less often", said)
	case http.StatusServiceUnavailable:
		r.Reason, r.text = unavailable(said, pod, port)
	default:
		r.text = fmt.Sprintf("the API server answers %d: %s", code, said)
	}
	return r
}

// printable replaces what a terminal could take for a command: the API server may quote a pod.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// unavailable interprets a 503. If the API server could not connect to the pod, its message has the error of the dial.
func unavailable(said string, pod Pod, port string) (reason, text string) {
	cause, dialed := strings.CutPrefix(said, "error trying to reach service: ")
	switch {
	case !dialed:
		return reasonOther, fmt.Sprintf("the API server is not available (503: %s)", said)
	case strings.Contains(cause, "connection refused"):
		return ReasonUnreachable, fmt.Sprintf("nothing listens on port %s of pod %s, says the API server (503: %s)",
			port, pod, cause)
	case strings.Contains(cause, "timeout"), strings.Contains(cause, "no route"),
		strings.Contains(cause, "unreachable"), strings.Contains(cause, "deadline exceeded"),
		strings.Contains(cause, "No agent available"):
		return ReasonUnreachable, fmt.Sprintf("the API server has no route to pod %s (503: %s): a NetworkPolicy may "+
			"forbid it, or it runs outside of the pod network; kubectl port-forward -n %s pod/%s %s may still work",
			pod, cause, pod.Namespace, pod.Name, port)
	default:
		return ReasonUnreachable, fmt.Sprintf("the API server got no answer from port %s of pod %s (503: %s)", port,
			pod, cause)
	}
}
