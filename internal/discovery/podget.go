package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
)

// ErrNoPod is the error of Pod for a pod that no API server knows.
var ErrNoPod = errors.New("there is no such pod")

// Pod asks the API servers of the discoveries for one whole pod, for at most 10 seconds each. The error says in words
// what to do: ErrNoPod, or a right that is missing, or a server that does not answer.
func (m *Manager) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	for _, part := range []string{namespace, name} {
		if problems := content.IsPathSegmentName(part); part == "" || len(problems) > 0 {
			return nil, fmt.Errorf("%q is not the name of a pod or of a namespace", part)
		}
	}
	m.mu.Lock()
	servers := append([]*server(nil), m.servers...)
	m.mu.Unlock()
	if len(servers) == 0 {
		return nil, errors.New("no job discovers in Kubernetes, so there is no API server to ask for a pod")
	}
	var errs []error
	for _, s := range servers {
		pod, err := s.pod(ctx, namespace, name)
		if err == nil {
			return pod, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// pod asks for one pod.
func (s *server) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	asking, cancel := context.WithTimeout(ctx, s.pace.ask)
	defer cancel()
	a, body, err := s.client.get(asking,
		"/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(name), nil)
	what := namespace + "/" + name
	switch a {
	case answerOK:
		pod := &corev1.Pod{}
		if json.Unmarshal(body, pod) != nil || pod.Name != name {
			return nil, fmt.Errorf("the answer of %s is not that of a Kubernetes API server", s.client.host)
		}
		return pod, nil
	case answerMissing:
		return nil, fmt.Errorf("%w: the API server %s knows no pod %s", ErrNoPod, s.client.host, what)
	case answerDenied:
		return nil, fmt.Errorf("may not get pod %s (%s): grant get on pods in namespace %s; "+
			"kubectl auth can-i get pods -n %s shows whether it is granted", what, firstLine(err), namespace, namespace)
	case answerUnknown:
		return nil, fmt.Errorf("the API server %s does not accept our credentials (%s)", s.client.host, firstLine(err))
	default:
		return nil, fmt.Errorf("ask the API server %s for pod %s: %w", s.client.host, what, err)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
