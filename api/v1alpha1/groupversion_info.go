package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "access.cardea.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion under the name that generated code knows it by.
var SchemeGroupVersion = GroupVersion

var (
	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers every kind of this package with a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&AccessGrant{}, &AccessGrantList{},
		&AccessLock{}, &AccessLockList{},
		&AccessPolicy{}, &AccessPolicyList{},
		&AccessProxy{}, &AccessProxyList{},
		&ApprovalRequest{}, &ApprovalRequestList{},
		&CommandRule{}, &CommandRuleList{},
		&MaskingRule{}, &MaskingRuleList{},
		&RecordingStore{}, &RecordingStoreList{},
		&Session{}, &SessionList{},
		&Target{}, &TargetList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
