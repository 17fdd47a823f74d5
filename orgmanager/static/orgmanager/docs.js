"use strict";

SwaggerUIBundle({
  url: "schema?format=json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  syntaxHighlight: { theme: "nord" },
  validatorUrl: null, // the document stays here
});
