// Zooming and panning a surface with wheel, mouse and fingers.

// `zoomBy(factor, [x, y])` and `panBy(across, down)`, in pixels of the surface. A drag is not a click.
export function followPointers(surface, zoomBy, panBy) {
  surface.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const box = surface.getBoundingClientRect();
      zoomBy(Math.exp(-event.deltaY / 300), [event.clientX - box.left, event.clientY - box.top]);
    },
    { passive: false },
  );

  const pointers = new Map();
  let isDragging = false;
  surface.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    isDragging = false;
  });
  surface.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    if (!isDragging && Math.hypot(dx, dy) < 5) return;
    if (!isDragging) surface.setPointerCapture(event.pointerId);
    isDragging = true;
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = (place) => Math.max(20, Math.hypot(place[0] - other[0], place[1] - other[1]));
      const box = surface.getBoundingClientRect();
      zoomBy(apart([event.clientX, event.clientY]) / apart(last), [other[0] - box.left, other[1] - box.top]);
    } else panBy(dx, dy);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    surface.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  surface.addEventListener(
    "click",
    (event) => {
      if (!isDragging) return;
      event.stopPropagation();
      isDragging = false;
    },
    true,
  );
}
