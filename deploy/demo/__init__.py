"""`python -m deploy.demo`: a mesh, made and put to the test before your eyes.

story      the steps in their order; a step that isn't so ends it with a `StoryError`
security   the steps about who is calling; routing: about where requests go
stage      what all steps stand on: the mesh, its files, requests from its pods
stream     requests that go on from a pod while the story does something to the mesh
answer     what became of one request: when it was sent, which version of reviews came
split      how answers divide over versions, and whether that is what a route asks
tap        what passes between two pods, seen where an eavesdropper would be
settling   how long after an edit the demo begins to count: a promise, not a wish

The demo stands on what every user has: `tandem` and files that it watches.
"""
