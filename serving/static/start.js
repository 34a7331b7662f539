"use strict";

// Swagger UI fills in every field of a form: one without an example with the smallest number that may be sent,
// and such a min_distance recognises nobody. Leave it empty, and do not offer to send what is empty.
const leaveNumbersEmpty = {
  components: { ParameterIncludeEmpty: () => null },
  afterLoad() {
    const sample = this.fn.getSampleSchema;
    this.fn.getSampleSchema = (schema, ...rest) =>
      schema?.get?.("type") === "number" && !schema.has("examples") ? "" : sample(schema, ...rest);
  },
};

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  validatorUrl: null,
  tryItOutEnabled: true,
  plugins: [leaveNumbersEmpty],
});
