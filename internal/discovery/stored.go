package discovery

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// storedPod is a trimmed pod in an informer's store, in protobuf form. The Go structures of a pod and its containers
// would take several times the memory, although most of their fields are empty. Immutable.
type storedPod struct {
	namespace, name, version string
	body                     []byte
	record                   *podRecord // of the whole pod; nil: it neither has an Envoy nor asks for one
}

// store trims a whole pod, and encodes it.
func store(pod *corev1.Pod, r *reads) (*storedPod, error) {
	body, err := trimPod(pod, r).Marshal()
	if err != nil {
		return nil, fmt.Errorf("pack pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return &storedPod{namespace: pod.Namespace, name: pod.Name, version: pod.ResourceVersion, body: body,
		record: newPodRecord(pod)}, nil
}

// GetObjectKind implements runtime.Object.
func (s *storedPod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (s *storedPod) DeepCopyObject() runtime.Object { return s }

// storedPods is the answer to a list request, of which each pod was stored as soon as the answer was decoded.
type storedPods struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []*storedPod
}

// DeepCopyObject implements runtime.Object.
func (l *storedPods) DeepCopyObject() runtime.Object { return l }

// storeAll stores the pods of a list, and lets go of each whole pod.
func storeAll(list *corev1.PodList, r *reads) (*storedPods, error) {
	all := &storedPods{ListMeta: list.ListMeta, Items: make([]*storedPod, len(list.Items))}
	for i := range list.Items {
		var err error
		if all.Items[i], err = store(&list.Items[i], r); err != nil {
			return nil, err
		}
		list.Items[i] = corev1.Pod{}
	}
	return all, nil
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, which informers use.
func (s *storedPod) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, ResourceVersion: s.version}
}

// pod decodes the pod.
func (s *storedPod) pod() (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := pod.Unmarshal(s.body); err != nil {
		return nil, fmt.Errorf("unpack pod %s/%s: %w", s.namespace, s.name, err)
	}
	return pod, nil
}

// storing returns the transform of an informer that trims and encodes pods. Other objects, and pods that are encoded
// already, stay as they are.
func storing(r *reads) cache.TransformFunc {
	return func(object any) (any, error) {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return object, nil
		}
		return store(pod, r)
	}
}

// podInformer presents an informer of storedPods as an informer of pods.
type podInformer struct{ cache.SharedIndexInformer }

// GetStore implements cache.SharedInformer.
func (i podInformer) GetStore() cache.Store { return podStore{i.SharedIndexInformer.GetStore()} }

// podStore presents a store of storedPods as a store of pods.
type podStore struct{ cache.Store }

// GetByKey implements cache.Store.
func (s podStore) GetByKey(key string) (any, bool, error) {
	item, ok, err := s.Store.GetByKey(key)
	stored, packed := item.(*storedPod)
	if !ok || err != nil || !packed {
		return item, ok, err
	}
	pod, err := stored.pod()
	return pod, err == nil, err
}
