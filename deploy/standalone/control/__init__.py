"""The standalone control plane: YAML files in, delta ADS and pods to run out.

object      a Kubernetes, Gateway API or Istio object, parsed into a frozen value
source      where objects come from: a watched file, or the API ("applied")
problem     what is wrong with an object, with file, line and field
catalog     all sources' objects; keeps the last good content of bad ones
world       the catalog with its indexes, and what Gateways add to it
pod         something for the runner to run: a Pod, or one of a Deployment
status      what the runner says of a pod: addresses, phase, readiness
host        a ServiceEntry's: a service of the mesh; outside: a workload that no pod is
names       what the host names of ServiceEntries stand for, asked again and again
mesh        MeshConfig: what holds everywhere, and the servers that policies may name
plug-in     a PythonFilter: code that waypoints have beside their own filters
resource    an Address or a policy of the xDS stream: name, content hash, bytes
view        everything derived from one catalog and one set of statuses
engine      the one owner of state: inputs in, the next view out
session     one client's delta ADS: what it subscribed to, holds and is owed

manifests/ YAML to objects · translate/ objects to xDS, pure · ads/ and api/
serve · engine.py and app.py hold the effects.
"""
